"""The system's wish that a job should end: a time limit, a preemption, a cancelled run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Slurm's `--signal` can send SIGUSR1 some time before a limit; an interrupt comes from the keyboard."""


@contextmanager
def handled(act: Callable[[], object]) -> Iterator[None]:
    """Do something when one of the signals comes, instead of dying; a second one acts as it does without this.

    Only a process's first thread can do so; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def once(number: int, frame: object) -> None:
        restore()
        act()

    for number in SIGNALS:
        signal.signal(number, once)
    try:
        yield
    finally:
        restore()


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether the process has been asked to end."""
    asked = threading.Event()
    with handled(asked.set):
        yield asked.is_set
