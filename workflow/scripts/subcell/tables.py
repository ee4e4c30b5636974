"""Tables as csv and tsv, which people open in a spreadsheet: text that it would take for a formula is quoted.

Text comes from sheets, releases and file names. In a cell that begins with one of `=+-@`, a spreadsheet would run it;
an apostrophe in front, which `read_table` takes away again, leaves it text. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.replacing import replacing

TAB_EXTENSIONS = (".tsv", ".tab", ".txt")
"""Between the cells of other tables stand commas."""

FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""What is quoted (https://owasp.org/www-community/attacks/CSV_Injection); apostrophes in front count, so that text which has
one of its own comes back with it."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]inf")


def quoted(text: str) -> str:
    """Text that no spreadsheet runs."""
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def unquoted(text: str) -> str:
    """The text that `quoted` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def table_text(table: pd.DataFrame, *, delimiter: str, float_format: str | None = None) -> str:
    """A table as text, without its index.

    Parameters
    ----------
    table : any; text in it and names of columns are `quoted`
    delimiter : between cells
    float_format : of numbers with a fraction, as of `DataFrame.to_csv`
    """
    safe = _on_text(table, quoted)
    # Python's csv leaves a carriage return bare, and every reader takes it for the end of a row.
    bare = any("\r" in str(name) for name in safe.columns) or any(
        safe.iloc[:, number].astype(str).str.contains("\r", regex=False).any() for number in _text_columns(safe)
    )
    quoting = csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL
    return safe.to_csv(sep=delimiter, index=False, float_format=float_format, lineterminator="\n", quoting=quoting)


def write_table(table: pd.DataFrame, path: str | Path, *, float_format: str | None = None) -> None:
    """Write a table, tsv or csv by the ending of its name, whole or not at all; see `table_text`."""
    text = table_text(table, delimiter=_delimiter(path), float_format=float_format)
    with replacing(path) as to:
        to.write_text(text, encoding="utf-8", newline="")


def read_table(path: str | Path, **options: Any) -> pd.DataFrame:
    """Read a table that `write_table` wrote.

    Parameters
    ----------
    options : of `pandas.read_csv`

    Raises
    ------
    OSError, ValueError : as `pandas.read_csv`
    """
    table = pd.read_csv(path, sep=_delimiter(path), encoding="utf-8", **options)
    return _on_text(table, unquoted)


def _delimiter(path: str | Path) -> str:
    return "\t" if Path(path).suffix.lower() in TAB_EXTENSIONS else ","


def _text_columns(table: pd.DataFrame) -> list[int]:
    """Columns by number, since names may occur twice."""
    kinds = (pd.StringDtype, pd.CategoricalDtype)
    return [n for n, dtype in enumerate(table.dtypes) if dtype.kind == "O" or isinstance(dtype, kinds)]


def _on_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The table with all text of it changed, names of columns too; its other values are as they were."""
    found = table.copy(deep=False)
    for number in _text_columns(table):
        values = table.iloc[:, number].astype(object)
        # Of a million rows few are different.
        new = {value: change(value) for value in values.unique() if isinstance(value, str)}
        if any(new[value] != value for value in new):
            found.isetitem(number, values.map(lambda value, new=new: new.get(value, value)))
    found.columns = pd.Index([change(name) if isinstance(name, str) else name for name in table.columns])
    return found
