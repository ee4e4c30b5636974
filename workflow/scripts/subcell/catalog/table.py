"""Rows of a csv or tsv file with their numbers, as a spreadsheet counts them."""

import csv
import io
from pathlib import Path

from subcell.errors import SheetError
from subcell.tables import TAB_EXTENSIONS, unquoted

_SHOWN = 10


def listed(items: list[str]) -> str:
    """Join with commas, at most ten of them."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


def read_rows(path: str | Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a table of text.

    Parameters
    ----------
    path : csv, or tsv by extension; utf-8 with or without a byte order mark

    Returns
    -------
    header : names of the columns
    rows : for each row that is not blank its number (the header is row 1) and its cells by column, without blanks
        around them

    Raises
    ------
    SheetError : missing, not utf-8, empty, a quote that never ends, columns of the same name, rows with cells too many
        or too few; all such rows are listed
    """
    path = Path(path)
    text = _read_text(path)
    delimiter = "\t" if path.suffix.lower() in TAB_EXTENSIONS else ","
    table: list[list[str]] = []
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            table.append([unquoted(cell.strip()) for cell in cells])
    except csv.Error as error:
        raise SheetError(f"{path}: row {len(table) + 1} cannot be parsed ({error}); check its quotes") from error
    if not any(any(cells) for cells in table[:1]):
        raise SheetError(f"{path}: the sheet is empty; its first row must name the columns")
    header = table[0]
    while header and not header[-1]:
        header = header[:-1]
    problems = [
        f"column {name!r} occurs {header.count(name)} times" if name else "a column has no name"
        for name in dict.fromkeys(header)
        if header.count(name) > 1 or not name
    ]
    rows, uneven = [], []
    for number, cells in enumerate(table[1:], start=2):
        if not any(cells):
            continue
        if len(cells) < len(header) or any(cells[len(header) :]):
            uneven.append(f"{number} ({len(cells)})")
        rows.append((number, dict(zip(header, cells, strict=False))))
    if uneven:
        problems.append(f"the header has {len(header)} cells, but not these rows: {listed(uneven)}")
    if len(header) == 1 and (other := next((mark for mark in ";\t,|" if mark in header[0]), "")):
        expected = "tabs" if delimiter == "\t" else "commas"
        problems.append(f"the header is one cell with {other!r} in it; {path.suffix} must be separated by {expected}")
    if problems:
        raise SheetError(f"{path} cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return header, rows


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SheetError(f"{path}: cannot open the sheet ({error.strerror or error})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = [str(number) for number, line in enumerate(data.split(b"\n"), start=1) if not _is_utf8(line)]
        raise SheetError(f"{path}: not utf-8 in line {listed(lines)}; save the sheet as csv with utf-8") from error


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
