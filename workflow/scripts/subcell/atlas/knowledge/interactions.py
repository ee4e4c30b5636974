"""Lists of interacting genes as they are published: BioPlex, STRING, or any table of two genes and a score."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from subcell.atlas.knowledge.gene_sets import text_lines
from subcell.errors import SheetError

PUBLISHED = (("symbola", "symbolb", "pint"), ("protein1", "protein2", "combined_score"))
"""Columns of two genes and the score in the files of BioPlex and STRING, in lower case."""

_TITLE = re.compile(
    r"#?(a|b|(gene|protein|symbol|bait|prey|source|target|node|interactor|partner)[ _.-]?(name|symbol|id)?[ _.-]?[ab12]?)",
    re.IGNORECASE,
)
"""What stands above a column of genes."""

_STRING_ID = re.compile(r"(\d+\.)?ENSP\d+")

EXPECTED = (
    "expected the columns SymbolA, SymbolB and pInt (BioPlex) or protein1, protein2 and combined_score (STRING), or "
    "two genes and, in a third column, a score"
)


def read_interactions(path: str | Path, *, aliases: str | Path | None = None) -> Iterator[tuple[str, str, float]]:
    """Read pairs of genes and their scores, row by row.

    Parameters
    ----------
    path : a table, plain, .gz or .zip, with tabs, commas or blanks between columns, quoted or not. Columns are told by the
        names of `PUBLISHED`; of a table of two or three columns they are the first two genes and the score, with a header
        or without
    aliases : a table of a protein's id and its gene, such as STRING's protein.info; names it lacks stay as they are

    Yields
    ------
    two genes as the file writes them, or as `aliases` call them, and the score, inf where the file has none

    Raises
    ------
    SheetError : the file cannot be read so; the message names the row
    """
    path = Path(path)
    names = _read_aliases(Path(aliases)) if aliases else None
    lines = enumerate(text_lines(path), start=1)
    start = next(((number, line) for number, line in lines if line.strip()), None)
    if start is None:
        return
    split = _splitter(start[1])
    first = split(start[1])
    columns = _published_columns(first)
    header = columns is not None or _is_header(first)
    if columns is None:
        if not 2 <= len(first) <= 3:
            raise SheetError(f"{path}: columns {', '.join(first[:10])}; {EXPECTED}")
        columns = tuple(range(len(first)))
    if not header:
        yield _row(path, *start, first, columns, names)
    for number, line in lines:
        if line.strip():
            yield _row(path, number, line, split(line), columns, names)


def _splitter(line: str) -> Callable[[str], list[str]]:
    """How the columns of a file are told, from its first line."""
    mark = next((mark for mark in "\t," if mark in line), " ")

    def split(line: str) -> list[str]:
        if mark == " ":
            return line.split()
        cells = next(csv.reader([line], delimiter=mark)) if '"' in line else line.split(mark)
        return [cell.strip() for cell in cells]

    return split


def _published_columns(header: list[str]) -> tuple[int, ...] | None:
    titles = [title.lower() for title in header]
    return next((tuple(map(titles.index, known)) for known in PUBLISHED if set(known) <= set(titles)), None)


def _is_header(first: list[str]) -> bool:
    """Of two columns a header is told by its words; of three by what stands where others have the score."""
    if len(first) == 3:
        return _number(first[2]) is None
    return all(_TITLE.fullmatch(title) for title in first)


def _row(
    path: Path, number: int, line: str, cells: list[str], columns: tuple[int, ...], names: Mapping[str, str] | None
) -> tuple[str, str, float]:
    values = [cells[column] if column < len(cells) else "" for column in columns]
    score = _number(values[2]) if len(columns) == 3 else math.inf
    if not values[0] or not values[1] or score is None:
        raise SheetError(f"{path}, line {number}: {line[:60]!r}; {EXPECTED}")
    if names is None and _STRING_ID.fullmatch(values[0]):
        raise SheetError(
            f"{path}, line {number}: {values[0]} is STRING's id of a protein, no gene; give its table protein.info as `aliases`"
        )
    names = names or {}
    return names.get(values[0], values[0]), names.get(values[1], values[1]), score


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_aliases(path: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for number, line in enumerate(text_lines(path), start=1):
        cells = line.split("\t")
        if not line.strip():
            continue
        if len(cells) < 2:
            raise SheetError(
                f"{path}, line {number}: {line[:60]!r}; expected a protein's id and its gene, a tab between"
            )
        names[cells[0]] = cells[1]
    return names
