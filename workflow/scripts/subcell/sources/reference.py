"""Reference files: fetched once, and held to a checksum that is given or was recorded at the first download."""

import hashlib
import os
from pathlib import Path

from subcell.errors import SubcellError
from subcell.sources.fetch import fetch


def fetch_reference(url: str, target: str | Path, *, sha256: str | None, ledger: str | Path) -> str:
    """Fetch a file and check it.

    Parameters
    ----------
    url : http or https
    target : file to write; it appears only when its checksum is right
    sha256 : checksum that it must have; None for that in the ledger, or, the first time, for any
    ledger : file that keeps the checksum of the first download, outside of what a rerun deletes

    Returns
    -------
    the checksum

    Raises
    ------
    SubcellError : the checksum is another; the message has both
    ImageError : the file cannot be fetched
    """
    target, ledger = Path(target), Path(ledger)
    expected, source = sha256, "the configuration"
    if expected is None and ledger.exists():
        expected, source = ledger.read_text().strip(), str(ledger)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        fetch(url, temporary)
        digest = hashlib.sha256()
        with open(temporary, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
        found = digest.hexdigest()
        if expected is not None and found != expected:
            raise SubcellError(
                f"{url}: sha256 is {found}, {source} says {expected}; the file changed since, or the download is damaged. "
                f"If the new one is wanted, set `sha256` to it or delete {ledger}"
            )
        ledger.parent.mkdir(parents=True, exist_ok=True)
        ledger.write_text(found + "\n")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return found
