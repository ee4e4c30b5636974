"""The ledger of a folder of images: one row a file, where it came from and whether it is usable."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from subcell.errors import ImageError
from subcell.replacing import replacing

LEDGER_COLUMNS = (
    *("field_id", "channel", "file", "plane", "url"),
    *("bytes", "sha256", "tries", "status", "reason"),
)
LEDGER_NAME = "ledger.tsv"


def ledger_table(rows: Iterable[Mapping[str, object]] = ()) -> pd.DataFrame:
    """Table with `LEDGER_COLUMNS`; text that is missing is empty, bytes and tries are integers."""
    table = pd.DataFrame(list(rows), columns=list(LEDGER_COLUMNS))
    numbers = {name: pd.to_numeric(table[name]).fillna(0).astype("int64") for name in ("bytes", "tries")}
    text = {name: table[name].fillna("").astype(str).astype(object) for name in LEDGER_COLUMNS if name not in numbers}
    return table.assign(**text, **numbers)


def write_ledger(images_dir: str | Path, ledger: pd.DataFrame) -> None:
    """Write `ledger.tsv` into a folder of images."""
    with replacing(Path(images_dir) / LEDGER_NAME) as to:
        ledger[list(LEDGER_COLUMNS)].to_csv(to, sep="\t", index=False, encoding="utf-8")


def read_ledger(images_dir: str | Path) -> pd.DataFrame:
    """Read the ledger of a folder of images.

    Returns
    -------
    DataFrame with `LEDGER_COLUMNS`: `channel` is one of CHANNELS or REFERENCES, `file` is relative to the folder,
    `plane` is "" or for example "c=2,z=max", `status` is "ok" or "set aside"

    Raises
    ------
    ImageError : no ledger, or one that lacks columns
    """
    path = Path(images_dir) / LEDGER_NAME
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot read the ledger of images ({error})") from error
    missing = [name for name in LEDGER_COLUMNS if name not in table.columns]
    if missing:
        raise ImageError(f"{path}: the ledger of images lacks the columns {', '.join(missing)}")
    return ledger_table(table.to_dict("records"))
