"""Try a reader on many hostile inputs, each in a process of its own with little time and memory."""

import multiprocessing
import random
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subcell.errors import SubcellError

LIMIT_S = 20
LIMIT_BYTES = 2 * 2**30
_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    kind : "read"; "refused", with one of our errors; "crash", by any other exception, a signal or the limit of memory;
        or "hang", at the limit of time
    value : what the reader returned, where it read
    text : the error
    """

    kind: str
    value: Any = None
    text: str = ""


def tried(read: Callable[[Any], Any], given: Any, *, seconds: float = LIMIT_S, memory: int = LIMIT_BYTES) -> Outcome:
    """Call `read(given)` in a process of its own.

    Parameters
    ----------
    read : a function of a module, so that the process finds it by name
    given : its input; both it and what is returned are pickled
    seconds, memory : limits; memory in bytes beyond that of the process before it reads
    """
    here, there = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_answer, args=(there, read, given, memory), daemon=True)
    process.start()
    there.close()
    try:
        # Its start is not the reader's time.
        if not here.poll(10 * LIMIT_S) or here.recv() != "ready":
            return Outcome("crash", text="did not start")
        if not here.poll(seconds):
            return Outcome("hang", text=f"no answer within {seconds} s")
        return Outcome(*here.recv())
    except EOFError:
        process.join()
        return Outcome("crash", text=f"the process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()
        here.close()


def _answer(pipe: Any, read: Callable[[Any], Any], given: Any, memory: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    try:
        answer = ("read", read(given), "")
    except SubcellError as error:
        answer = ("refused", None, str(error))
    except BaseException as error:
        answer = ("crash", None, f"{type(error).__name__}: {error}")
    pipe.send(answer)


def fuzz(
    read: Callable[[Any], Any],
    inputs: Iterable[Any],
    right: Callable[[Any, Any], bool] = lambda given, value: True,
    *,
    budget_s: float,
    least: int = 10,
    modules: Iterable[str] = (),
) -> dict[str, int]:
    """Try a reader on inputs until they or the time are used up.

    Parameters
    ----------
    read : see `tried`
    inputs : may be endless; the first `least` are tried in any case
    right : whether what was read is right for this input
    budget_s : time for all of them
    modules : what `read` imports, so that it is imported once

    Returns
    -------
    how many were read and refused

    Raises
    ------
    AssertionError : a crash, a hang, a wrong value, or an error of more than 20 lines; it names the inputs
    """
    _CONTEXT.set_forkserver_preload([*modules, read.__module__])
    until, counts, wrong = time.monotonic() + budget_s, {"read": 0, "refused": 0}, []
    for number, given in enumerate(inputs):
        if number >= least and time.monotonic() > until:
            break
        outcome = tried(read, given)
        if outcome.kind not in counts:
            wrong.append(f"{given!r:.300}: {outcome.kind}, {outcome.text:.300}")
            continue
        counts[outcome.kind] += 1
        if outcome.kind == "read" and not right(given, outcome.value):
            wrong.append(f"{given!r:.300}: read, and wrong")
        if outcome.kind == "refused" and not 0 < len(outcome.text.splitlines()) <= 20:
            wrong.append(f"{given!r:.300}: {len(outcome.text.splitlines())} lines of error")
    assert not wrong, "\n".join(wrong)
    return counts


def damaged(data: bytes, random: random.Random) -> bytes:
    """The same bytes cut off, with some changed, or with a piece repeated, removed or moved."""
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        start = random.randrange(len(data) or 1)
        piece = bytes(data[start : start + random.choice((1, 4, 16, 200))])
        match random.randrange(6):
            case 0:
                del data[start:]
            case 1:
                del data[start : start + len(piece)]
            case 2:
                data[start:start] = piece * random.choice((1, 2, 50))
            case 3:
                data[start : start + len(piece)] = random.randbytes(len(piece))
            case 4 if data:
                data[start] ^= 1 << random.randrange(8)
            case _:
                edge = random.choice((b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80", b"-1"))
                data[start : start + len(edge)] = edge
    return bytes(data)
