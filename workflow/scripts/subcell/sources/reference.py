"""Reference files: fetched once, and held to a checksum that is given or was recorded at the first download."""

import os
from collections.abc import Callable
from pathlib import Path

from subcell.errors import SubcellError
from subcell.sources.download.cache import Cache
from subcell.sources.download.files import Downloader
from subcell.sources.download.transfer import Failed, Limits


def fetch_reference(
    url: str,
    target: str | Path,
    *,
    cache: str | Path,
    sha256: str | None,
    ledger: str | Path,
    limits: Limits | None = None,
    log: Callable[[str], None] = print,
) -> str:
    """Fetch a file and check it.

    Parameters
    ----------
    url : http or https
    target : file to write; it appears only when its checksum is right
    cache : folder of verified files, which is asked first
    sha256 : checksum that it must have; None for that in the ledger, or, the first time, for any
    ledger : file that keeps the checksum of the first download, outside of what a rerun deletes
    limits : tries and times
    log : is told how far it is

    Returns
    -------
    the checksum

    Raises
    ------
    SubcellError : the file cannot be fetched, or its checksum is another; the message has both
    """
    target, ledger = Path(target), Path(ledger)
    store = Cache(cache)
    expected, source = sha256, "the configuration"
    if expected is None and ledger.exists():
        expected, source = ledger.read_text().strip(), str(ledger)
    record = Downloader(store, limits or Limits(), log=log).fetch([url], lambda url, path: None)[url]
    if isinstance(record, Failed):
        raise SubcellError(f"{url}: {record}; fetch it by hand and name the file instead")
    if expected is not None and record.sha256 != expected:
        store.path(url).unlink()
        raise SubcellError(
            f"{url}: sha256 is {record.sha256}, {source} says {expected}; the file changed since, or was damaged on the way. "
            f"If the new one is wanted, set `sha256` to it or delete {ledger}"
        )
    for path in (target, ledger):
        path.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_text(record.sha256 + "\n")
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        store.link(url, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return record.sha256
