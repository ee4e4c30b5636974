"""The ledger of a folder of images: one row a file, where it came from and whether it is usable."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.errors import ImageError, SubcellError
from subcell.hashing import sha256_of
from subcell.tables import read_table, write_table

LEDGER_COLUMNS = (
    *("field_id", "channel", "file", "plane", "url"),
    *("bytes", "sha256", "modified_ns", "tries", "status", "reason"),
)
_NUMBERS = ("bytes", "modified_ns", "tries")
_ALLOWED = {
    "field_id": r"[^\0]+",
    "file": r"[^\0]*",
    "sha256": r"([0-9a-f]{64})?",
    "status": "ok|set aside",
    **dict.fromkeys(_NUMBERS, r"\d{1,18}|[1-8]\d{18}"),
}
LEDGER_NAME = "ledger.tsv"


def ledger_table(rows: Iterable[Mapping[str, object]] = ()) -> pd.DataFrame:
    """Table with `LEDGER_COLUMNS`; text that is missing is empty, a missing number 0."""
    table = pd.DataFrame(list(rows), columns=list(LEDGER_COLUMNS))
    numbers = {name: pd.to_numeric(table[name]).fillna(0).astype("int64") for name in _NUMBERS}
    text = {name: table[name].fillna("").astype(str).astype(object) for name in LEDGER_COLUMNS if name not in numbers}
    return table.assign(**text, **numbers)


def write_ledger(images_dir: str | Path, ledger: pd.DataFrame) -> None:
    """Write `ledger.tsv` into a folder of images."""
    write_table(ledger[list(LEDGER_COLUMNS)], Path(images_dir) / LEDGER_NAME)


def read_ledger(images_dir: str | Path) -> pd.DataFrame:
    """Read the ledger of a folder of images.

    Returns
    -------
    DataFrame with `LEDGER_COLUMNS`: `channel` is one of CHANNELS or REFERENCES, `file` is relative to the folder,
    `plane` is "" or for example "c=2,z=max", `modified_ns` is when a file that is not ours was last changed, in
    nanoseconds since 1970, else 0, `status` is "ok" or "set aside"

    Raises
    ------
    ImageError : no ledger, or a damaged one, with the row
    """
    path = Path(images_dir) / LEDGER_NAME
    try:
        table = read_table(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    # Ledgers of earlier versions say no time.
    missing = [name for name in LEDGER_COLUMNS if name not in table.columns and name != "modified_ns"]
    if missing:
        raise _damaged(path, f"it lacks the columns {', '.join(missing)}")
    for name, pattern in _ALLOWED.items():
        if name not in table:
            continue
        wrong = table.loc[~table[name].str.fullmatch(pattern), name]
        if len(wrong):
            raise _damaged(path, f"{name} is {wrong.iloc[0]!r} in row {wrong.index[0] + 2}")
    if (nowhere := (table["status"] == "ok") & (table["file"] == "")).any():
        raise _damaged(path, f"row {nowhere.idxmax() + 2} names no file")
    return ledger_table(table.to_dict("records"))


def _damaged(path: Path, what: str) -> ImageError:
    return ImageError(f"{path}: damaged ledger of images ({what}); delete {path.parent} and run again")


def listed_file(images_dir: str | Path, row: Any) -> Path:
    """Path of an image, which must still be what the ledger says of it.

    Only a file that was changed at another time than listed is hashed, so that this costs next to nothing.

    Parameters
    ----------
    images_dir : folder of images
    row : of its ledger, with the columns as attributes

    Raises
    ------
    SubcellError : the file is another one. It ends the job instead of setting the field aside, because masks and crops
        of the shard that are there may be of the former images.
    """
    path = Path(images_dir) / row.file
    try:
        found = path.stat()
    except OSError:
        return path  # whoever reads it says so
    as_listed = not row.modified_ns or (found.st_size, found.st_mtime_ns) == (row.bytes, row.modified_ns)
    if not as_listed and (found.st_size != row.bytes or sha256_of(path) != row.sha256):
        raise SubcellError(
            f"{os.path.realpath(path)}: changed since it was listed in {Path(images_dir) / LEDGER_NAME}; "
            f"delete {images_dir} and run again"
        )
    return path
