"""Fetch one file over http(s): bounded in size and time, tried three times, renamed when it is whole."""

import time
from pathlib import Path

import requests

from subcell.errors import ImageError

MAX_BYTES = 2 * 1024**3
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)


def fetch(
    url: str,
    target: str | Path,
    *,
    max_bytes: int = MAX_BYTES,
    timeout_s: float = 60,
    total_s: float = 1800,
    tries: int = 3,
    pause_s: float = 1,
) -> int:
    """Fetch an address into a file.

    Parameters
    ----------
    url : http or https
    target : file to write; it appears only when it is complete
    max_bytes : largest file, after the transfer's own compression
    timeout_s, total_s : longest wait for the next bytes, and for one try
    tries, pause_s : how often to try, and the first pause in between, which doubles

    Returns
    -------
    the number of tries that it took

    Raises
    ------
    ImageError : not http(s), refused, too large, or still failing after the last try
    """
    target = Path(target)
    if not url.lower().startswith(("http://", "https://")):
        raise ImageError(f"{url}: only http and https addresses can be fetched")
    temporary = target.with_name(f".{target.name}.part")
    try:
        for number in range(1, tries + 1):
            try:
                _fetch_once(url, temporary, max_bytes, timeout_s, total_s)
                temporary.replace(target)
                return number
            except requests.RequestException as error:
                if not _may_pass(error) or number == tries:
                    raise ImageError(f"{url}: {_reason(error)} (tried {number} times)") from error
            time.sleep(pause_s * 2 ** (number - 1))
    finally:
        temporary.unlink(missing_ok=True)
    raise ImageError(f"{url}: not tried")


def _fetch_once(url: str, path: Path, max_bytes: int, timeout_s: float, total_s: float) -> None:
    start = time.monotonic()
    with requests.get(url, stream=True, timeout=timeout_s) as answer, open(path, "wb") as file:
        answer.raise_for_status()
        too_large = ImageError(f"{url}: more than the {max_bytes:,} bytes allowed")
        announced = answer.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) > max_bytes:
            raise too_large
        for chunk in answer.iter_content(1 << 20):
            file.write(chunk)
            if file.tell() > max_bytes:
                raise too_large
            if time.monotonic() - start > total_s:
                raise requests.Timeout(f"not complete after {total_s:g} s")


def _may_pass(error: requests.RequestException) -> bool:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code in _WORTH_ANOTHER_TRY
    passing = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, passing)


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    return f"{type(error).__name__}: {error}"
