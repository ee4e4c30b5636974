"""Reference files: fetched once, and held to a checksum that is given or was recorded at the first download."""

from pathlib import Path

from subcell.errors import SubcellError
from subcell.replacing import replacing
from subcell.sources.download import Downloader, Failed

LARGEST_MB = 2000
"""Gene annotations and interactions are tables of some tens of megabytes."""


def fetch_reference(
    url: str,
    target: str | Path,
    *,
    downloader: Downloader,
    sha256: str | None,
    ledger: str | Path,
) -> str:
    """Fetch a file and check it.

    Parameters
    ----------
    url : http or https
    target : file to write; it appears only when its checksum is right
    downloader : brings it, or has it already
    sha256 : checksum that it must have; None for that in the ledger, or, the first time, for any
    ledger : file that keeps the checksum of the first download, outside of what a rerun deletes

    Returns
    -------
    the checksum

    Raises
    ------
    SubcellError : the file cannot be fetched, or its checksum is another; the message has both
    """
    target, ledger = Path(target), Path(ledger)
    expected, source = sha256, "the configuration"
    if expected is None and ledger.exists():
        expected, source = ledger.read_text().strip(), str(ledger)
    record = downloader.fetch([url], lambda url, path: None)[url]
    if isinstance(record, Failed):
        raise SubcellError(f"{url}: {record}; fetch it by hand and name the file instead")
    if expected is not None and record.sha256 != expected:
        downloader.cache.path(url).unlink()
        raise SubcellError(
            f"{url}: sha256 is {record.sha256}, {source} says {expected}; the file changed since, or was damaged on the way. "
            f"If the new one is wanted, set `sha256` to it or delete {ledger}"
        )
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_text(record.sha256 + "\n")
    with replacing(target) as to:
        downloader.cache.link(url, to)
    return record.sha256
