"""Many files at once: a few connections a host, tries with pauses, and a line of progress."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from subcell.errors import ImageError, SubcellError
from subcell.sources.download.cache import Cache, Record
from subcell.sources.download.connections import Connections, Stopped
from subcell.sources.download.transfer import Failed, Limits, host_of, transfer

LEASE_S = 20
"""How long a job keeps a connection before the others have their turn."""
FRUITFUL_BYTES = 64 * 1024
"""A try that got this much further was no failure: a large file may be cut off more often than there are tries."""
DAMAGED_TRIES = 3
"""As often came the whole file and could not be read: it lies damaged on the server."""
OUTAGE_FILES = 8
"""As many files in a row that no try brought: the server is down, not the files."""
LOG_EVERY_S = 10

Check = Callable[[str, Path], None]
"""Given an address and the file that came from it; raises ImageError where that is not what was expected."""


class Unreachable(SubcellError):
    """A server brings nothing at the moment. All that has arrived is kept; run again later."""


@dataclass(frozen=True)
class Downloader:
    """Brings files into a cache; those that are there already are not asked for again.

    cache : where verified files lie
    limits : connections, tries and times
    hosts : where redirects may lead besides a file's own host
    stop_on_outage : whether a server that brings nothing ends the work; else its files count as failed
    log : is told how far it is, about every ten seconds
    """

    cache: Cache
    limits: Limits = field(default_factory=Limits)
    hosts: tuple[str, ...] = ()
    stop_on_outage: bool = True
    log: Callable[[str], None] = print

    def fetch(self, urls: Iterable[str], check: Check) -> dict[str, Record | Failed]:
        """Bring files.

        Parameters
        ----------
        urls : http or https addresses
        check : judges each complete file before it gets its final name

        Returns
        -------
        for each address its record, or why it could not be had

        Raises
        ------
        Unreachable : a server brings nothing
        OSError : the cache cannot be written, e.g. a full disk
        """
        wanted = list(dict.fromkeys(urls))
        there = {url: record for url in wanted if (record := self.cache.find(url)) is not None}
        todo = [url for url in wanted if url not in there]
        fetched = _Fetcher(self, todo, check).run(cached=len(there)) if todo else {}
        outcomes = {**there, **fetched}
        return {url: outcomes[url] for url in wanted}


class _Fetcher:
    """The work of one call, shared by its threads."""

    def __init__(self, downloader: Downloader, urls: list[str], check: Check) -> None:
        self.settings, self.cache, self.limits = downloader, downloader.cache, downloader.limits
        self.check = check
        self.outcomes: dict[str, Record | Failed] = {}
        self.todo: deque[tuple[str, str]] = deque()
        for url in urls:
            try:
                self.todo.append((host_of(url), url))
            except Failed as failure:
                self.outcomes[url] = failure
        self.total = len(self.todo)
        self.finished = self.bytes = self.in_a_row = self.came = 0
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.connections = Connections(self.cache.folder / ".connections", self.limits.connections, self.stop)

    def run(self, cached: int) -> dict[str, Record | Failed]:
        workers = min(self.limits.connections, self.total)
        if not workers:
            return self.outcomes
        log = self.settings.log
        log(f"{self.total:,} files to fetch, {cached:,} are there, {workers} connections")
        start = time.monotonic()
        with ThreadPoolExecutor(workers) as pool:
            futures = {pool.submit(self._work) for _ in range(workers)}
            try:
                while futures:
                    done, futures = wait(futures, timeout=LOG_EVERY_S, return_when=FIRST_EXCEPTION)
                    for future in done:
                        future.result()
                    log(self._progress(time.monotonic() - start))
            finally:
                self.stop.set()
        failures = {url: outcome for url, outcome in self.outcomes.items() if isinstance(outcome, Failed)}
        if failures and not self.came and self.settings.stop_on_outage and all(f.may_pass for f in failures.values()):
            url, last = list(failures.items())[-1]
            raise _outage(url, len(failures), last)
        return self.outcomes

    def _progress(self, seconds: float) -> str:
        rate = self.bytes / max(seconds, 1e-9) / 1e6
        left = seconds / self.finished * (self.total - self.finished) if self.finished else None
        time_left = "" if left is None else f", {left / 60:.0f} min left" if left > 120 else f", {left:.0f} s left"
        return f"{self.finished:,} of {self.total:,} files, {self.bytes / 1e6:,.1f} MB, {rate:.1f} MB/s{time_left}"

    def _work(self) -> None:
        """Bring one file after the other, until there is none left."""
        try:
            while (item := self._next(None)) is not None:
                host, url = item
                self.connections.wait(host, self.limits.longest_pause_s)
                with self.connections.one(host), _one_connection() as client:
                    until = time.monotonic() + LEASE_S
                    self._finish(url, self._bring(client, host, url))
                    while time.monotonic() < until and (item := self._next(host)) is not None:
                        self._finish(item[1], self._bring(client, *item))
        except Stopped:
            pass
        except BaseException:
            self.stop.set()
            raise

    def _next(self, host: str | None) -> tuple[str, str] | None:
        with self.lock:
            if self.stop.is_set() or not self.todo or (host is not None and self.todo[0][0] != host):
                return None
            return self.todo.popleft()

    def _finish(self, url: str, outcome: Record | Failed) -> None:
        with self.lock:
            self.outcomes[url] = outcome
            self.finished += 1
            unreachable = isinstance(outcome, Failed) and outcome.may_pass
            self.in_a_row = self.in_a_row + 1 if unreachable else 0
            self.came += isinstance(outcome, Record)
            if self.in_a_row >= OUTAGE_FILES and self.settings.stop_on_outage and isinstance(outcome, Failed):
                raise _outage(url, self.in_a_row, outcome)

    def _bring(self, client: httpx2.Client, host: str, url: str) -> Record | Failed:
        """Bring one file, with as many tries as it takes or the limits allow."""
        with self.cache.locked(url):
            record = self.cache.find(url)
            if record is not None:
                return record
            start = time.monotonic()
            tries = _Tries(self.limits.tries)
            retrying = Retrying(
                retry=retry_if_exception(lambda error: isinstance(error, Failed) and error.may_pass),
                stop=tries.exhausted,
                wait=self._pause,
                sleep=self.connections.sleep,
                reraise=True,
            )
            try:
                retrying(self._try, client, host, url, tries)
                return self.cache.keep(url, tries=tries.count, seconds=time.monotonic() - start)
            except Failed as failure:
                times = "" if tries.count == 1 else f" (tried {tries.count} times)"
                return Failed(f"{failure}{times}", may_pass=failure.may_pass and not tries.damaged, tries=tries.count)

    def _try(self, client: httpx2.Client, host: str, url: str, tries: "_Tries") -> None:
        def received(count: int) -> None:
            if self.stop.is_set():
                raise Stopped
            with self.lock:
                self.bytes += count

        part = self.cache.part(url)
        tries.begin(part)
        self.connections.wait(host, self.limits.longest_pause_s)
        try:
            transfer(client, url, part, hosts=self.settings.hosts, limits=self.limits, received=received)
        except Failed as failure:
            if failure.wait_s > self.limits.longest_pause_s:
                tries.hopeless = True
            elif failure.wait_s:
                self.connections.pause(host, failure.wait_s)
            tries.end(part)
            raise
        try:
            self.check(url, part)
        except ImageError as error:
            # A server in trouble may send a page of HTML for an image, and status 200 with it.
            tries.damaged += not _is_page(part)
            self.cache.discard(url)
            reason = str(error).removeprefix(f"{part}: ")
            raise Failed(f"what the server sent cannot be used ({reason})", may_pass=True) from error

    def _pause(self, state: RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        asked = failure.wait_s if isinstance(failure, Failed) else 0
        random = wait_random_exponential(self.limits.pause_s, max=min(60, self.limits.longest_pause_s))(state)
        return max(asked, random)


class _Tries:
    """Tries of one file; those that got much further do not count against it.

    Further is beyond the most that ever lay there: a server that ignores `Range` sends the same beginning for ever.
    """

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.count = self.most = self.further = self.fruitless = self.damaged = 0
        self.hopeless = False

    def begin(self, part: Path) -> None:
        self.count += 1
        self.further = 0
        self.most = max(self.most, _size(part))

    def end(self, part: Path) -> None:
        self.further = _size(part) - self.most

    def exhausted(self, state: RetryCallState) -> bool:
        self.fruitless = 0 if self.further >= FRUITFUL_BYTES else self.fruitless + 1
        return self.hopeless or self.fruitless >= self.allowed or self.damaged >= DAMAGED_TRIES


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _is_page(part: Path) -> bool:
    with open(part, "rb") as file:
        return file.read(200).lstrip().startswith(b"<")


def _one_connection() -> httpx2.Client:
    return httpx2.Client(limits=httpx2.Limits(max_connections=1), follow_redirects=False)


def _outage(url: str, files: int, failure: Failed) -> Unreachable:
    failed = "the only file" if files == 1 else f"{files} files in a row"
    return Unreachable(
        f"{host_of(url)} brings nothing: {failed} failed, the last with: {failure}. "
        "All that has arrived is kept; run again later, or set download.unreachable to set_aside to go on without them"
    )
