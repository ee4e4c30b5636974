"""Read anybody's sheet of fields: csv or tsv, one row a field, one path a channel."""

import difflib
import string
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from subcell.catalog.fields import DESCRIPTION_COLUMNS, FIELD_COLUMNS, PATH_COLUMNS, as_fields
from subcell.catalog.paths import PathProblem, SheetFolder
from subcell.catalog.pixel_size import problem_of_pixel_size
from subcell.catalog.set_aside import set_aside_table
from subcell.catalog.table import listed, read_rows
from subcell.catalog.values import MISSING, read_value
from subcell.channels import CHANNELS, COLORS, REFERENCES
from subcell.errors import SheetError

SHEET_COLUMNS = tuple(name for name in FIELD_COLUMNS if name != "shard")
DEFAULT_COLUMNS = tuple(name for name in SHEET_COLUMNS if name not in ("field_id", *PATH_COLUMNS))

_OTHER_NAMES = {
    **{channel: color for color, channel in COLORS.items()},
    "reference_nuclei": "nucleus_mask",
    "reference_cells": "cell_mask",
}


def read_sheet(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    file_pattern: str | None = None,
    defaults: Mapping[str, object] | None = None,
    allow_outside: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a sheet of fields.

    Parameters
    ----------
    path : csv, or tsv (by extension .tsv, .tab or .txt), utf-8 with or without a byte order mark
    columns : our column name (or a colour of HPA: red, yellow, blue, green) to the sheet's. Columns that carry our
        names or the colours are found without it.
    file_pattern : files of the channels that the sheet has no column for, relative to the sheet, e.g.
        "{field_id}_{color}.png" or "{plate}/{well}_{channel}.tif"; any column of the sheet may stand in braces. A file
        that does not exist is a channel that the field lacks; only the nucleus must be there, by column or by pattern.
    defaults : our column name to the value of rows that have none, e.g. {"pixel_size_um": 0.08, "cell_line": "U2OS"}
    allow_outside : accept paths that lead out of the sheet's folder

    Returns
    -------
    fields : DataFrame with FIELD_COLUMNS, shard 0; paths are absolute, with links resolved, or http(s) addresses;
        values as `subcell.catalog.values.read_value` spells them. `label_level` is "image" where the sheet gives
        locations and does not say.
    set_aside : the rows that cannot be used, with their number (the header is row 1) and all reasons

    Raises
    ------
    SheetError : the sheet as a whole cannot be used; all problems are listed at once
    """
    path, columns = Path(path), dict(columns or {})
    constants = {name: str(value) for name, value in (defaults or {}).items()}
    header, rows = read_rows(path)
    problems: list[str] = []
    found = _find_columns(header, columns, problems)
    patterned = [channel for channel in CHANNELS if channel not in found] if file_pattern else []
    # Our names win over a column of the sheet that is called the same and mapped to something else.
    placeholders = {**{name: name for name in header}, **found}
    if file_pattern:
        _check_pattern(file_pattern, (*placeholders, *constants), problems)
    _check_defaults(constants, problems)
    _check_required(header, found, patterned, constants, problems)
    if not rows:
        problems.append("it has no rows below the header")
    if "field_id" in found:
        _check_unique(rows, found["field_id"], problems)
    if problems:
        raise SheetError(f"{path} cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))

    folder = SheetFolder(path.parent, allow_outside=allow_outside)
    fields, set_aside = [], []
    for number, cells in rows:
        field_id = cells[found["field_id"]]
        known = {name: "" if value in MISSING else value for name, value in cells.items()}
        given = {name: known[source] for name, source in found.items()}
        given = {**constants, **{name: value for name, value in given.items() if value}, "field_id": field_id}
        if "pixel_size_um" in given and "pixel_size_source" not in given:
            given["pixel_size_source"] = "sheet" if known.get(found.get("pixel_size_um", "")) else "config"
        reasons: list[str] = []
        field = _check_values(given, reasons)
        field |= _find_files(given, folder, reasons)
        if patterned and file_pattern:
            values = {name: known[source] for name, source in placeholders.items()} | given
            field |= _find_pattern(file_pattern, values, patterned, folder, reasons)
        if "nucleus" not in field and not reasons:
            reasons.append("no nucleus channel (blue, DNA), which segmentation needs")
        if "locations" in field and "label_level" not in found:
            field.setdefault("label_level", "image")
        if reasons:
            set_aside.append({"field_id": field_id, "row": number, "stage": "sheet", "reason": "; ".join(reasons)})
        else:
            fields.append(field)
    return as_fields(pd.DataFrame(fields, columns=list(SHEET_COLUMNS))), set_aside_table(set_aside)


def suggest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _find_columns(header: list[str], columns: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Map our column names to the sheet's, and note wrong entries of `columns`."""
    found = {}
    for ours, theirs in columns.items():
        name = COLORS.get(ours, ours)
        if name not in SHEET_COLUMNS:
            problems.append(f"columns: {ours!r} is not a column here{suggest(ours, SHEET_COLUMNS)}")
        elif theirs not in header:
            problems.append(
                f"columns: {ours} is to be read from {theirs!r}, which the sheet lacks{suggest(theirs, header)}"
            )
        else:
            found[name] = theirs
    free = {name.casefold(): name for name in header if name not in found.values()}
    asked = {COLORS.get(ours, ours) for ours in columns}
    for name in SHEET_COLUMNS:
        by_name = free.get(name) or free.get(_OTHER_NAMES.get(name, name))
        if by_name and name not in asked:
            found[name] = by_name
    return found


def _check_pattern(pattern: str, known: Iterable[str], problems: list[str]) -> None:
    try:
        names = pattern_names(pattern)
    except ValueError as error:
        problems.append(f"file_pattern {pattern!r}: {error}")
        return
    known = set(known)
    for name in names:
        if name not in known and name not in ("color", "channel"):
            problems.append(f"file_pattern: the sheet has no column {name!r}{suggest(name, known)}")
    if not {"color", "channel"} & set(names):
        problems.append(
            f"file_pattern {pattern!r} names the same file for all channels; it needs {{color}} or {{channel}}"
        )


def pattern_names(pattern: str) -> list[str]:
    """Names in braces, in their order; ValueError for anything but plain names in braces."""
    names = []
    for _, name, spec, conversion in string.Formatter().parse(pattern):
        if name is None:
            continue
        if not name or spec or conversion or any(mark in name for mark in ".["):
            raise ValueError("only plain column names may stand in braces, like {field_id}")
        names.append(name)
    return names


def _check_defaults(defaults: Mapping[str, str], problems: list[str]) -> None:
    for name in defaults:
        if name not in DEFAULT_COLUMNS:
            problems.append(f"defaults: {name!r} cannot have a default{suggest(name, DEFAULT_COLUMNS)}")
    reasons: list[str] = []
    _check_values({"field_id": "any", "pixel_size_um": "1", **defaults}, reasons)
    problems.extend(f"defaults: {reason}" for reason in reasons)


def _check_required(
    header: list[str],
    found: Mapping[str, str],
    patterned: list[str],
    defaults: Mapping[str, str],
    problems: list[str],
) -> None:
    for name in ("field_id", "pixel_size_um"):
        if name not in found and name not in defaults:
            how = "" if name == "field_id" else " and there is no default for it"
            problems.append(f"column {name} is missing{how}{suggest(name, header)}")
    if not patterned and not set(CHANNELS) & set(found):
        problems.append(f"no column with paths: name them {', '.join(CHANNELS)} (or by colour), or give a file_pattern")
    elif not patterned and "nucleus" not in found:
        problems.append("column nucleus (or blue) is missing, which segmentation needs")


def _check_unique(rows: list[tuple[int, dict[str, str]]], column: str, problems: list[str]) -> None:
    numbers = defaultdict(list)
    for number, cells in rows:
        if cells[column]:
            numbers[cells[column]].append(str(number))
    twice = [f"{field_id!r} in rows {listed(where)}" for field_id, where in numbers.items() if len(where) > 1]
    if twice:
        problems.append(f"field_id must be unique, but is not: {listed(twice)}")


def _check_values(given: Mapping[str, str], reasons: list[str]) -> dict[str, object]:
    """Everything of a row but its paths, with reasons where it cannot be used."""
    field: dict[str, object] = {name: given[name] for name in ("field_id", "pixel_size_source") if name in given}
    reasons.extend(_problem_of_id(given["field_id"]))
    text = given.get("pixel_size_um")
    if text is None:
        reasons.append("pixel_size_um is missing")
    elif problem := problem_of_pixel_size(text):
        reasons.append(problem)
    else:
        field["pixel_size_um"] = float(text)
    for name in (*DESCRIPTION_COLUMNS, "split"):
        if name in given:
            try:
                field[name] = read_value(name, given[name])
            except ValueError as problem:
                reasons.append(str(problem))
    return field


def _problem_of_id(field_id: str) -> list[str]:
    if not field_id:
        return ["field_id is empty"]
    wrong = {character for character in field_id if not character.isprintable() or character in "/\\"}
    names = [
        f"{unicodedata.name(character, 'control character')} (U+{ord(character):04X})" for character in sorted(wrong)
    ]
    return [f"field_id holds {listed(names)}, which cannot stand in an id"] if wrong else []


def _find_files(given: Mapping[str, str], folder: SheetFolder, reasons: list[str]) -> dict[str, object]:
    """Paths that the row itself gives."""
    paths: dict[str, object] = {}
    for name in (*CHANNELS, *REFERENCES):
        if name in given:
            try:
                paths[name] = folder.find(given[name])
                if paths[name] is None:
                    reasons.append(f"{name}: missing file {given[name]!r}")
            except PathProblem as problem:
                reasons.append(f"{name}: {problem}")
    return paths


def _find_pattern(
    pattern: str,
    values: Mapping[str, str],
    channels: list[str],
    folder: SheetFolder,
    reasons: list[str],
) -> dict[str, object]:
    """Paths that the pattern gives; channels whose file does not exist are left out."""
    empty = [name for name in pattern_names(pattern) if name not in ("color", "channel") and not values.get(name)]
    if empty:
        reasons.append(f"file_pattern needs {listed(empty)}, which the row lacks")
        return {}
    paths: dict[str, object] = {}
    tried = []
    try:
        for channel in channels:
            tried.append(pattern.format_map({**values, "channel": channel, "color": _OTHER_NAMES[channel]}))
            path = folder.find(tried[-1])
            if path is not None:
                paths[channel] = path
    except PathProblem as problem:
        reasons.append(str(problem))
    if reasons or "nucleus" not in channels or "nucleus" in paths:
        return paths
    if not paths:
        reasons.append(f"missing files {listed([repr(path) for path in tried])}")
    else:
        expected = tried[channels.index("nucleus")]
        reasons.append(f"no nucleus channel (blue, DNA), which segmentation needs: missing file {expected!r}")
    return paths
