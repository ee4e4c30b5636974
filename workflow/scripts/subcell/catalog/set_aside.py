"""Fields that cannot be used: which, found where, and why. The run goes on without them."""

import errno
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from subcell.errors import ImageError, ShapeError, SheetError, SubcellError
from subcell.tables import read_table, write_table

SET_ASIDE_COLUMNS = ("field_id", "row", "stage", "reason")
STAGES = ("sheet", "download", "segment", "crop")


_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)
"""A full or read-only disk, too many open files: the next field would meet the same."""


def reason_of(error: Exception, field_id: str, step: str) -> str:
    """Why a field is set aside at which something failed, whatever that was; what nobody foresaw goes to the log.

    Parameters
    ----------
    error : what was raised while this one field was worked on
    step : what was done with it, e.g. "reading"

    Raises
    ------
    Exception : `error` itself, where it is not of this field: another `SubcellError`, or a full disk
    """
    if isinstance(error, ImageError | ShapeError):
        return str(error)
    if isinstance(error, SubcellError) or (isinstance(error, OSError) and error.errno in _OF_THE_MACHINE):
        raise error
    if isinstance(error, MemoryError):
        return f"memory does not suffice for {step} it"
    logging.getLogger(__name__).error("%s %s failed; it is set aside", step, field_id, exc_info=error)
    text = " ".join(str(error).split())[:200]
    return f"{step} it failed with {type(error).__name__}{': ' if text else ''}{text}; the log has more"


def set_aside_table(rows: Iterable[Mapping[str, object]] = ()) -> pd.DataFrame:
    """Table of fields set aside from mappings with field_id, stage, reason and, if it is known, the row of the sheet.

    Returns
    -------
    DataFrame with `SET_ASIDE_COLUMNS`; `row` is a nullable integer
    """
    table = pd.DataFrame(list(rows), columns=list(SET_ASIDE_COLUMNS))
    unknown = set(table["stage"]) - set(STAGES)
    if unknown:
        raise ValueError(f"Stages are {STAGES}, not {sorted(map(str, unknown))}")
    text = {name: table[name].fillna("").astype(str).astype(object) for name in ("field_id", "stage", "reason")}
    return table.assign(**text, row=table["row"].astype("Int64"))


def write_set_aside(table: pd.DataFrame, path: str | Path) -> None:
    """Write the table as tsv; a table without rows is written too."""
    write_table(table[list(SET_ASIDE_COLUMNS)], path)


def read_set_aside(path: str | Path) -> pd.DataFrame:
    """Read a table that `write_set_aside` wrote.

    Raises
    ------
    SheetError : it is damaged
    """
    try:
        table = read_table(path, dtype=str, keep_default_na=False)
        return set_aside_table(table.assign(row=pd.to_numeric(table["row"])).to_dict("records"))
    except (ValueError, KeyError, TypeError) as error:
        raise SheetError(f"{path}: damaged table of what was set aside ({error}); delete it and run again") from error


def join_set_aside(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of several stages or shards together, without repeated rows."""
    rows = [row for table in tables for row in table[list(SET_ASIDE_COLUMNS)].to_dict("records")]
    return set_aside_table(rows).drop_duplicates(ignore_index=True)
