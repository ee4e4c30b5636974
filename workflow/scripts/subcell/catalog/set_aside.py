"""Fields that cannot be used: which, found where, and why. The run goes on without them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from subcell.tables import read_table, write_table

SET_ASIDE_COLUMNS = ("field_id", "row", "stage", "reason")
STAGES = ("sheet", "download", "segment", "crop")


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
    """Read a table that `write_set_aside` wrote."""
    table = read_table(path, dtype=str, keep_default_na=False)
    return set_aside_table(table.assign(row=pd.to_numeric(table["row"])).to_dict("records"))


def join_set_aside(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of several stages or shards together, without repeated rows."""
    rows = [row for table in tables for row in table[list(SET_ASIDE_COLUMNS)].to_dict("records")]
    return set_aside_table(rows).drop_duplicates(ignore_index=True)
