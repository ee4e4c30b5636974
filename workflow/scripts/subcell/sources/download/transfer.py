"""One file over one connection: it goes on where it was cut off, and says which failures may pass."""

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

import httpx2

MAX_REDIRECTS = 5
MIN_BYTES_PER_S = 1000
"""Slower than this for a whole `stall_timeout_s` counts as stalled: a server may drip for ever."""
USER_AGENT = "subcell-workflow (https://doi.org/10.1101/2024.12.06.627299)"
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Limits:
    """How gently and how long a server is asked.

    connections : at once per host, of all jobs that share a cache
    tries : requests in a row that bring nothing new, before a file is given up
    pause_s, longest_pause_s : first and longest pause between tries; a longer `Retry-After` gives the file up
    connect_timeout_s, stall_timeout_s : longest wait for a connection, and for the next bytes
    max_bytes : largest file
    """

    connections: int = 4
    tries: int = 8
    pause_s: float = 1
    longest_pause_s: float = 600
    connect_timeout_s: float = 20
    stall_timeout_s: float = 60
    max_bytes: int = 2 * 1024**3

    @property
    def timeout(self) -> httpx2.Timeout:
        return httpx2.Timeout(self.stall_timeout_s, connect=self.connect_timeout_s)


class Failed(Exception):
    """A file did not come.

    Parameters
    ----------
    reason : why
    may_pass : whether another try may help
    wait_s : what the server asked to wait before it
    tries : requests that were made
    """

    def __init__(self, reason: str, *, may_pass: bool = False, wait_s: float = 0, tries: int = 1) -> None:
        super().__init__(reason)
        self.may_pass = may_pass
        self.wait_s = wait_s
        self.tries = tries


def host_of(url: str) -> str:
    """Host of an address, with its port unless that is the usual one.

    Raises
    ------
    Failed : not http or https, or no address
    """
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise Failed(f"not an address ({error})") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Failed("only http and https addresses can be fetched")
    return parsed.netloc.decode().rpartition("@")[2]


def transfer(
    client: httpx2.Client,
    url: str,
    part: Path,
    *,
    hosts: Collection[str],
    limits: Limits,
    received: Callable[[int], None] = lambda count: None,
) -> None:
    """Ask once for a file, or for what is missing of it.

    Parameters
    ----------
    client : made for one connection, not following redirects
    url : http or https
    part : what has arrived so far; a file `.json` beside it says of which version of the file it is a part
    hosts : where redirects may lead, as `host_of` names them; the address's own host is always allowed
    received : is told the number of bytes as they come

    Raises
    ------
    Failed : the file is not complete. What has come stays in `part` where it can be continued.
    """
    allowed = {host_of(url), *hosts}
    address = httpx2.URL(url)
    about = part.with_name(part.name + ".json")
    known = _read_about(about)
    # Unbuffered, so that a kill loses nothing that has arrived.
    with open(part, "ab", buffering=0) as file:
        headers = {"Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        start = file.tell() if known is not None else 0
        if known is not None and start and known["total"] == str(start):
            return  # stopped between the last byte and the check
        if start and known is not None:
            headers["Range"] = f"bytes={start}-"
            if known["validator"]:
                headers["If-Range"] = known["validator"]
        try:
            for _ in range(MAX_REDIRECTS + 1):
                with client.stream("GET", address, headers=headers, timeout=limits.timeout) as answer:
                    if answer.is_redirect:
                        address = _redirected(address, answer, allowed)
                        continue
                    _receive(answer, file, about, known if start else None, limits, received)
                    return
            raise Failed(f"more than {MAX_REDIRECTS} redirects")
        except httpx2.TimeoutException as error:
            kind = "no connection" if isinstance(error, httpx2.ConnectTimeout) else "no bytes"
            raise Failed(f"{kind} within the time limit ({type(error).__name__})", may_pass=True) from error
        except httpx2.TransportError as error:
            raise Failed(f"{type(error).__name__}: {error}", may_pass=True) from error
        except (httpx2.InvalidURL, httpx2.HTTPError) as error:
            raise Failed(f"{type(error).__name__}: {error}") from error


def _redirected(address: httpx2.URL, answer: httpx2.Response, allowed: Collection[str]) -> httpx2.URL:
    target = address.join(answer.headers.get("Location", ""))
    host = host_of(str(target))
    if host not in allowed:
        raise Failed(f"redirected to {host}, which is not among the hosts allowed ({', '.join(sorted(allowed))})")
    return target


def _receive(
    answer: httpx2.Response,
    file: BinaryIO,
    about: Path,
    known: dict[str, str] | None,
    limits: Limits,
    received: Callable[[int], None],
) -> None:
    """Write the body of an answer behind what is there, or instead of it."""
    status = answer.status_code
    if status == 206 and known is not None:
        start, total = _content_range(answer.headers.get("Content-Range", ""))
        if start != file.tell() or known["total"] not in ("", str(total)):
            _restart(file, about)
            raise Failed("the server sent another part than was asked for", may_pass=True)
    elif status == 200:
        _restart(file, about)
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        _write_about(about, answer, total)
    elif status == 416:
        _restart(file, about)
        raise Failed("the part that had come does not fit the file any more", may_pass=True)
    else:
        raise Failed(
            f"the server answers {status} {answer.reason_phrase}".rstrip(),
            may_pass=status in _MAY_PASS,
            wait_s=_retry_after(answer.headers.get("Retry-After", "")),
        )
    too_large = f"more than the {limits.max_bytes:,} bytes allowed"
    if total is not None and total > limits.max_bytes:
        _restart(file, about)
        raise Failed(too_large)
    window_start, window_bytes = time.monotonic(), 0
    for chunk in answer.iter_raw():
        file.write(chunk)
        received(len(chunk))
        window_bytes += len(chunk)
        if file.tell() > limits.max_bytes:
            _restart(file, about)
            raise Failed(too_large)
        passed = time.monotonic() - window_start
        if passed > limits.stall_timeout_s:
            if window_bytes < MIN_BYTES_PER_S * passed:
                raise Failed(f"only {window_bytes} bytes within {passed:.0f} s", may_pass=True)
            window_start, window_bytes = time.monotonic(), 0
    size = file.tell()
    if total is not None and size != total:
        if size > total:
            _restart(file, about)
        raise Failed(f"{size:,} bytes came instead of {total:,}", may_pass=True)
    if size == 0:
        raise Failed("the server sent an empty file", may_pass=True)


def _restart(file: BinaryIO, about: Path) -> None:
    about.unlink(missing_ok=True)
    file.truncate(0)
    file.seek(0)


def _content_range(text: str) -> tuple[int, int | None]:
    """First byte and total of "bytes 100-199/200"; -1 where it cannot be read."""
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        return -1, None
    return int(first), int(total) if total.isdigit() else None


def _write_about(about: Path, answer: httpx2.Response, total: int | None) -> None:
    etag = answer.headers.get("ETag", "")
    # A weak tag does not promise the same bytes.
    validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")
    temporary = about.with_name(about.name + ".tmp")
    temporary.write_text(json.dumps({"validator": validator, "total": "" if total is None else str(total)}))
    temporary.replace(about)


def _read_about(about: Path) -> dict[str, str] | None:
    try:
        known = json.loads(about.read_text())
        return {"validator": str(known["validator"]), "total": str(known["total"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _retry_after(text: str) -> float:
    """Seconds of a Retry-After, which is a number or a date; 0 where there is none."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
