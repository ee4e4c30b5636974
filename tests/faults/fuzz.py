"""Inputs that may do anything, each tried in a process of its own that is limited in time and memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from subcell.errors import SubcellError

SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
"""Budget of one fuzzer."""
SECONDS_EACH = 20
BYTES_EACH = 2 * 2**30

CONTEXT = multiprocessing.get_context("forkserver")


def preload(*modules: str) -> None:
    """Load modules once, in the process that all others are forked from; it does not know pytest's paths."""
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    CONTEXT.set_forkserver_preload(list(modules))


def _try(function: Callable[..., None], given: Any, answer: Any) -> None:
    os.setpgid(0, 0)
    with open("/proc/self/statm", encoding="ascii") as file:
        before = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (before + BYTES_EACH,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        function(given)
        answer.send(("fine", ""))
    except SubcellError as error:
        answer.send(("refused", str(error)))
    except BaseException:  # whatever it is, the test that waits has to hear of it
        answer.send(("traceback", traceback.format_exc()[-2000:]))


def tried(function: Callable[..., None], given: Any) -> tuple[str, str]:
    """What a function makes of an input: fine, refused (and why), traceback, killed or hangs."""
    here, there = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_try, args=(function, given, there))
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(SECONDS_EACH) else ("hangs", f"after {SECONDS_EACH} s")
    except EOFError:
        process.join()
        return "killed", f"exit code {process.exitcode}"
    finally:
        # With whatever it started.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()


def fuzz(function: Callable[..., None], inputs: Iterable[tuple[str, Any]]) -> dict[str, int]:
    """Try inputs until the budget is used up.

    Parameters
    ----------
    function : importable, takes an input
    inputs : (what it is, input), as many as there may be

    Returns
    -------
    outcome -> how often; an input that is neither used nor refused in one line fails the test
    """
    counts: dict[str, int] = {}
    end = time.monotonic() + SECONDS
    for name, given in inputs:
        outcome, why = tried(function, given)
        assert outcome in ("fine", "refused"), f"{name}: {outcome}: {why}"
        assert outcome != "refused" or "\n" not in why, f"{name}: more than one line: {why}"
        counts[outcome] = counts.get(outcome, 0) + 1
        if time.monotonic() > end:
            break
    return counts
