"""The lock of a run that was killed: told from the lock of a run that goes on, and removed.

Snakemake's lock is a file, which outlives a kill. Beside it every run holds a lock of the kernel's, which does not. Jobs that
outlive a killed run are no danger: `job.py` waits for them.
"""

import fcntl
import socket
import sys
from pathlib import Path
from typing import TextIO


def take_over(folder: Path = Path(".snakemake")) -> TextIO | None:
    """Take part in the kernel's lock for as long as the result is open, and remove what killed runs have left.

    Nothing is removed while a run of this folder lives, nor where a run on another machine was the last: not every shared file
    system passes the kernel's locks on.

    Parameters
    ----------
    folder : Snakemake's own, in the working directory

    Returns
    -------
    the file that is locked; None where it cannot be written or locked, and nothing was done
    """
    here = socket.gethostname()
    try:
        folder.mkdir(exist_ok=True)
        held = (folder / "runs").open("a+", encoding="utf-8")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(held, fcntl.LOCK_SH)
        else:
            _clean_up(folder / "locks", held, here)
            fcntl.flock(held, fcntl.LOCK_SH)
        held.write(f"{here}\n")
        held.flush()
    except OSError:
        return None
    return held


def _clean_up(locks: Path, runs: TextIO, here: str) -> None:
    """Remove locks of this machine's runs, none of which lives."""
    runs.seek(0)
    left = [path for path in (locks.iterdir() if locks.is_dir() else ()) if path.name.endswith(".lock")]
    hosts = set(runs.read().split())
    if left and hosts == {here}:
        for path in left:
            path.unlink()
        print(
            f"The run that had locked {locks.absolute().parent.parent} is gone: its lock was removed.", file=sys.stderr
        )
    if not left or hosts == {here}:
        runs.truncate(0)
    elif not hosts:
        runs.write("unknown\n")
