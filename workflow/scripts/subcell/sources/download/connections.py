"""Connections to a host, shared by all processes that use the same cache."""

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_POLL_S = 0.1


class Stopped(Exception):
    """The work was stopped while it waited."""


class Connections:
    """At most `limit` connections a host.

    A connection is a locked file, which the system frees when its process dies, however it dies. Nodes of a cluster share
    them too where the file system of `folder` locks across nodes.

    Parameters
    ----------
    folder : where the lock files lie
    limit : connections a host
    stop : ends all waiting
    """

    def __init__(self, folder: Path, limit: int, stop: threading.Event) -> None:
        self.folder = folder
        self.limit = limit
        self.stop = stop
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def one(self, host: str) -> Iterator[None]:
        """Hold one connection to a host; waits until one is free."""
        locks = [FileLock(self.folder / f"{_plain(host)}.{number}.lock") for number in range(self.limit)]
        while True:
            for lock in locks:
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    continue
                try:
                    yield
                finally:
                    lock.release()
                return
            self.sleep(_POLL_S)

    def pause(self, host: str, seconds: float) -> None:
        """Keep everybody from asking a host for a while, as its `Retry-After` wants it."""
        path = self.folder / f"{_plain(host)}.pause"
        until = time.time() + seconds
        path.touch()
        if path.stat().st_mtime < until:
            os.utime(path, (until, until))

    def wait(self, host: str, longest_s: float) -> None:
        """Wait until a host may be asked again, at most `longest_s`."""
        try:
            until = (self.folder / f"{_plain(host)}.pause").stat().st_mtime
        except OSError:
            return
        self.sleep(min(until - time.time(), longest_s))

    def sleep(self, seconds: float) -> None:
        """Sleep; raises `Stopped` when the work ends meanwhile."""
        if self.stop.wait(max(0.0, seconds)):
            raise Stopped


def _plain(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", host)
