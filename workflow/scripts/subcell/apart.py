"""Work on files of others in a process of its own: libraries in C may crash over bytes that nobody meant to be read."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from subcell.errors import SubcellError


def apart(function: Callable[..., None], what: object, *arguments: Any, **settings: Any) -> None:
    """Call a function in a process of its own.

    Parameters
    ----------
    function : is called with `what`, the arguments and the settings; what it changes in memory is lost
    what : the file that may be damaged, for the message

    Raises
    ------
    SubcellError : the process was ended by a signal, as a crash does it
    Exception : what the function raises
    """
    # Forked, so that logging goes on to where it went.
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(there, function, (what, *arguments), settings))
    process.start()
    there.close()
    try:
        raised: Exception | None = pickle.loads(here.recv_bytes())
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raised = SubcellError(f"{what}: reading it ended in a crash ({how}); it is damaged, or memory does not suffice")
    process.join()
    if raised is not None:
        raise raised


def _call(
    answer: Connection, function: Callable[..., None], arguments: tuple[Any, ...], settings: dict[str, Any]
) -> None:
    raised: Exception | None = None
    try:
        function(*arguments, **settings)
    except Exception as error:  # the other process raises it
        raised = error
        if not isinstance(error, SubcellError):
            raised.add_note(traceback.format_exc())
    try:
        content = pickle.dumps(raised)
        pickle.loads(content)
    except Exception:  # what cannot be sent is told
        content = pickle.dumps(RuntimeError("".join(traceback.format_exception(raised))))
    answer.send_bytes(content)
