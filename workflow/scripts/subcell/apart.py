"""Work on files of others in a process of its own: libraries in C may crash over bytes that nobody meant to be read."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from subcell.errors import SubcellError

DIE_WITH_PARENT = 1
"""Linux's PR_SET_PDEATHSIG."""


def apart(function: Callable[..., None], what: object, *arguments: Any, **settings: Any) -> None:
    """Call a function in a process of its own, which ends with this one at the latest.

    Parameters
    ----------
    function : is called with `what`, the arguments and the settings; what it changes in memory is lost
    what : the file that may be damaged, for the message

    Raises
    ------
    SubcellError : the process was ended by a signal, as a crash does it
    Exception : what the function raises
    """
    there, here = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    # A fork, so that logging goes on to where it went.
    child = os.fork()
    if not child:
        _call(here, function, (what, *arguments), settings)
    os.close(here)
    with os.fdopen(there, "rb") as pipe:
        answer = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code or not answer:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise SubcellError(f"{what}: reading it ended in a crash ({how}); it is damaged, or memory does not suffice")
    raised: Exception | None = pickle.loads(answer)
    if raised is not None:
        raise raised


def _call(pipe: int, function: Callable[..., None], arguments: tuple[Any, ...], settings: dict[str, Any]) -> NoReturn:
    code = 1
    try:
        with suppress(AttributeError, OSError):  # other systems than Linux
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
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
        with os.fdopen(pipe, "wb") as answer:
            answer.write(content)
        sys.stdout.flush()
        sys.stderr.flush()
        code = 0
    finally:
        os._exit(code)
