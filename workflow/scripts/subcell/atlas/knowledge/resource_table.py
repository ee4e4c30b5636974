"""Tables that come with the workflow, or that users write like them: tabs between columns, lines of comments with "#"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from subcell.errors import SheetError


def read_resource_table(path: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table as text, "" where a cell is empty.

    Raises
    ------
    SheetError : it cannot be read, or lacks one of the columns
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, comment="#")
    except (OSError, ValueError) as problem:
        raise SheetError(f"{path}: cannot be read as a table ({problem})") from None
    if missing := set(columns) - set(table.columns):
        raise SheetError(f"{path}: no column {', '.join(sorted(missing))}")
    return table
