"""The system's wish that a job should end: a time limit, a preemption, a cancelled run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Slurm's `--signal` can send SIGUSR1 some time before a limit; an interrupt comes from the keyboard."""


@contextmanager
def handled(act: Callable[[], object], *, interruptible: bool = True) -> Iterator[None]:
    """Do something when the first of the signals comes, instead of dying; others change nothing.

    At a time limit Slurm signals every process of a job, and torchrun hands its own on: one request comes several times.
    Only a process's first thread can do so; elsewhere nothing changes.

    Parameters
    ----------
    act : called once
    interruptible : a second interrupt from the keyboard acts as it does without this
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    came = False

    def handle(number: int, frame: object) -> None:
        nonlocal came
        if interruptible and number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])
        if not came:
            came = True
            act()

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()


@contextmanager
def stop_requests(*, interruptible: bool = True) -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether the process has been asked to end; see `handled`."""
    asked = threading.Event()
    with handled(asked.set, interruptible=interruptible):
        yield asked.is_set


@contextmanager
def deaf_children() -> Iterator[None]:
    """Start processes that the signals do not reach: they work for this one, and live until it ends them or itself ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
