"""Counts of a published map, beside those of ours: cells and genes after each filter, clusters at each level."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from subcell.atlas.knowledge.resource_table import read_resource_table
from subcell.errors import SheetError

COMPARED = {("filters", "step"): ("cells", "genes"), ("levels", "level"): ("clusters",)}
"""Table and what names its rows -> columns that can be compared; `published_COLUMN` stands beside each."""

FILTER_COLUMNS = ("step", "cells", "genes", "published_cells", "published_genes")
"""Columns of filters.tsv; the last two are empty unless `published_counts` names the map to compare with."""


def read_counts(path: str | Path) -> pd.DataFrame:
    """Counts of a published map: columns table (filters or levels), row (a step or level), column, published.

    Raises
    ------
    SheetError : a column is missing, or a row names no count that is compared
    """
    table = read_resource_table(path, ("table", "row", "column", "published"))
    known = {(name, column) for (name, _), columns in COMPARED.items() for column in columns}
    for found in table.itertuples():
        if (found.table, found.column) not in known or not found.published.isdigit():
            there = ", ".join(f"{column} of {name}" for name, column in sorted(known))
            raise SheetError(
                f"{path}: {found.published!r} {found.column} of {found.table}, row {found.row!r}; expected a number of {there}"
            )
    return table


def put_beside(tables: dict[str, pd.DataFrame], counts: pd.DataFrame) -> None:
    """Fill `published_COLUMN` of the tables of a map, row by row; what was not published stays empty.

    Parameters
    ----------
    tables : of the map; `filters` and `levels` are replaced
    counts : see `read_counts`
    """
    for (name, key), columns in COMPARED.items():
        table = tables[name].copy()
        for column in columns:
            here = counts[(counts["table"] == name) & (counts["column"] == column)]
            values = dict(zip(here["row"], here["published"].astype(int), strict=True))
            table[f"published_{column}"] = table[key].astype(str).map(values).astype("Int64")
        tables[name] = table
