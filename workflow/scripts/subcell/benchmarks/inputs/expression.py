"""Expression of cell lines from a file: a table of lines and genes, or the Human Protein Atlas's long table."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from subcell.errors import SheetError

GENE, LINE = ("Gene", "ensembl_id", "gene"), ("Cell line", "cell_line")
VALUES = ("TPM", "pTPM", "nTPM")
TRUE_EXPRESSION = "expression.parquet"
"""Of a simulated dataset, in the folder of what is true."""


def read_expression(path: str | Path) -> pd.DataFrame:
    """Read log2(TPM + 1) of lines and genes.

    Parameters
    ----------
    path : parquet, csv or tsv (plain, .gz, or .zip of one file): a row a cell line and a column a gene, of log2(TPM + 1);
        or the Human Protein Atlas's rna_celline.tsv, a row a gene and line with `TPM`, whose logarithm is taken; or the folder
        of what is true of a simulated dataset

    Returns
    -------
    DataFrame, index cell line, columns genes, finite

    Raises
    ------
    SheetError : the file cannot be read so; the message says what is wrong
    """
    path = Path(path)
    path = path / TRUE_EXPRESSION if path.is_dir() else path
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    except (OSError, ValueError, zipfile.BadZipFile) as problem:
        raise SheetError(f"{path}: cannot be read as a table of expression ({problem})") from None
    line = next((name for name in LINE if name in table), None)
    gene = next((name for name in GENE if name in table), None)
    value = next((name for name in VALUES if name in table), None)
    if line and gene and value:
        table[value] = np.log2(_numbers(table[value], path) + 1)
        wide = table.pivot_table(index=line, columns=gene, values=value, aggfunc="mean", observed=True)
    else:
        wide = (
            table.set_index(line) if line else table.set_index(table.columns[0]) if table.index.name is None else table
        )
        wide = wide.apply(lambda column: _numbers(column, path))
    wide = wide.dropna(axis=1)
    repeated = wide.index[wide.index.duplicated()]
    if len(repeated):
        raise SheetError(f"{path}: cell line {repeated[0]!r} has two rows; keep one")
    if not wide.size:
        raise SheetError(f"{path}: no gene has a value in every cell line")
    wide.index, wide.columns = wide.index.astype(str), wide.columns.astype(str)
    return wide


def same_lines(ours: Iterable[str], theirs: Iterable[str]) -> dict[str, str]:
    """Lines of both lists that are the same but for spelling ("U2OS" and "U-2 OS"): our name -> theirs."""
    known = {_plain(name): name for name in theirs}
    return {name: known[_plain(name)] for name in ours if _plain(name) in known}


def _read_text(path: Path) -> pd.DataFrame:
    """A table with tabs or commas; of the Atlas's, which has millions of rows, only the columns that are needed."""
    separator = "," if ".csv" in path.suffixes else "\t"
    header = list(pd.read_csv(path, sep=separator, nrows=0).columns)
    long = [next((name for name in names if name in header), None) for names in (GENE, LINE, VALUES)]
    wanted = [name for name in long if name] if all(long) else None
    # As categories: the Atlas names each of its genes a thousand times.
    return pd.read_csv(
        path, sep=separator, usecols=wanted, dtype=dict.fromkeys(wanted[:2], "category") if wanted else None
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _numbers(column: pd.Series, path: Path) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = column[numbers.isna() & column.notna()]
    if len(wrong):
        raise SheetError(f"{path}: {column.name}, row {wrong.index[0]}: {wrong.iloc[0]!r} is not a number")
    negative = numbers[numbers < 0]
    if len(negative):
        raise SheetError(f"{path}: {column.name}, row {negative.index[0]}: expression of {negative.iloc[0]:g}")
    return numbers
