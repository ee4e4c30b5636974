"""Build a sheet from a folder of images and the pattern of their names."""

import os
import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from subcell.catalog.fields import DESCRIPTION_COLUMNS, PATH_COLUMNS
from subcell.catalog.pixel_size import ome_pixel_size_um
from subcell.catalog.sheet import pattern_names, read_sheet, suggest
from subcell.catalog.table import listed
from subcell.channels import COLORS
from subcell.errors import SheetError
from subcell.tables import write_table

OTHER_NAMES = "Where files call a channel otherwise, name it in make_sheet.channels: {DAPI: nucleus}"
SEVERAL_IN_A_FILE = "Files of several channels need a sheet written by hand, with paths like file.ome.tif#c=0"


def make_sheet(
    folder: str | Path,
    pattern: str,
    out: str | Path,
    *,
    pixel_size_um: float | None = None,
    channels: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Find the images of a folder, group them into fields and write a sheet.

    Parameters
    ----------
    folder : where the images lie
    pattern : their names, e.g. "{plate}_{well}_{site}_{color}.tif" or "{plate}/{well}_{channel}.png". In braces stand
        field columns and either `color` (blue, red, yellow, green) or `channel` (nucleus, microtubules, er, protein,
        reference_nuclei, reference_cells). Without `field_id` the other values, joined by "_", are the id.
    out : csv or tsv to write; it must lie in the images' folder or above it, since paths are relative to it
    pixel_size_um : micrometres a pixel; without it the files have to be OME-TIFFs that say so
    channels : further names in the files, for `color` and `channel` alike, e.g. {"DAPI": "nucleus"}

    Returns
    -------
    The fields that `read_sheet` finds in the new sheet

    Raises
    ------
    SheetError : nothing matches, a name matches in two ways, two files claim one channel of a field, pixel sizes are
        unknown, or `out` exists
    """
    folder, out = Path(folder), Path(out)
    names = {**COLORS, **{name: name for name in PATH_COLUMNS}, **(channels or {})}
    lazy, greedy, columns = compile_pattern(pattern, channels or {})
    _check_places(folder, out)
    files: dict[str, dict[str, str]] = {}
    described: dict[str, dict[str, str]] = {}
    problems = []
    for file in _files_at_depth(folder, pattern.count("/")):
        match = lazy.fullmatch(file)
        if match is None:
            continue
        values = match.groupdict()
        if values != greedy.fullmatch(file).groupdict():  # type: ignore[union-attr]
            problems.append(
                f"{file!r} matches in more than one way; use a name as {{field_id}} where parts hold separators"
            )
            continue
        channel = names[values.pop("color", None) or values.pop("channel")]
        field_id = values.get("field_id") or "_".join(values[name] for name in columns)
        if described.setdefault(field_id, values) != values:
            problems.append(f"field_id {field_id!r} stands for two fields: {described[field_id]} and {values}")
        elif channel in files.setdefault(field_id, {}):
            problems.append(f"{channel} of field {field_id!r} is claimed by {files[field_id][channel]!r} and {file!r}")
        files[field_id][channel] = file
    if problems:
        raise SheetError(f"{folder}: {len(problems)} problems with {pattern!r}: {'; '.join(problems[:10])}")
    if not any("nucleus" in paths for paths in files.values()):
        raise SheetError(_nothing_found(folder, pattern, len(files)))
    rows = [
        {"field_id": field_id, **described[field_id], **_pixel_size(folder, paths, pixel_size_um)}
        | {channel: os.path.relpath(folder / file, out.parent) for channel, file in paths.items()}
        for field_id, paths in sorted(files.items())
    ]
    unknown = [row["field_id"] for row in rows if not row["pixel_size_um"]]
    if unknown:
        raise SheetError(f"{folder}: the files of {listed(unknown)} do not say their pixel size; give pixel_size_um")
    return _write(rows, out)


def compile_pattern(pattern: str, channels: Mapping[str, str]) -> tuple[re.Pattern[str], re.Pattern[str], list[str]]:
    """Regular expressions for a pattern of file names.

    Returns
    -------
    lazy, greedy : the same pattern, giving early parts as little or as much as possible; where both agree on a name, it
        can be read in one way only
    columns : field columns in the pattern, in their order

    Raises
    ------
    SheetError : unknown names in braces, or not exactly one of color and channel
    """
    try:
        names = list(dict.fromkeys(pattern_names(pattern)))
    except ValueError as error:
        raise SheetError(f"pattern {pattern!r}: {error}") from error
    columns = [name for name in names if name not in ("color", "channel")]
    allowed = ("field_id", *DESCRIPTION_COLUMNS)
    for name in columns:
        if name not in allowed:
            raise SheetError(f"pattern {pattern!r}: {name!r} is no column of a sheet{suggest(name, allowed)}")
    if len(names) - len(columns) != 1 or not columns:
        raise SheetError(
            f"pattern {pattern!r} needs either {{color}} or {{channel}}, and columns that tell fields apart. {SEVERAL_IN_A_FILE}"
        )
    choices = {"color": (*COLORS, *channels), "channel": (*PATH_COLUMNS, *channels)}
    lazy, seen = "", set()
    for literal, place, _, _ in string.Formatter().parse(pattern):
        lazy += re.escape(literal)
        if place is None:
            continue
        if place in seen:
            lazy += f"(?P={place})"
        elif place in choices:
            # Longest first, or "reference_cells" could be read as a shorter name and a rest.
            options = sorted(choices[place], key=len, reverse=True)
            lazy += f"(?P<{place}>{'|'.join(map(re.escape, options))})"
        else:
            lazy += f"(?P<{place}>[^/]+?)"
        seen.add(place)
    return re.compile(lazy, re.DOTALL), re.compile(lazy.replace("[^/]+?)", "[^/]+)"), re.DOTALL), columns


def _check_places(folder: Path, out: Path) -> None:
    if not folder.is_dir():
        raise SheetError(f"{folder}: there is no such folder of images")
    if out.exists():
        raise SheetError(f"{out} exists already; move it away first, or choose another output")
    above = os.path.join(os.path.realpath(out.parent), "")
    if not os.path.join(os.path.realpath(folder), "").startswith(above):
        raise SheetError(f"{out} must lie in {folder} or a folder above it, since its paths are relative to it")


def _files_at_depth(folder: Path, depth: int) -> Iterator[str]:
    """Paths of files that many folders down, relative to `folder`, with '/', sorted."""
    for place, folders, files in os.walk(folder):
        relative = Path(place).relative_to(folder)
        if len(relative.parts) == depth:
            folders.clear()
            yield from ((relative / name).as_posix() for name in sorted(files))
        folders.sort()


def _nothing_found(folder: Path, pattern: str, fields: int) -> str:
    if fields:
        return f"{folder}: {pattern!r} finds {fields} fields but no nucleus (blue), which segmentation needs. {OTHER_NAMES}"
    endings = Counter(Path(name).suffix for _, _, files in os.walk(folder) for name in files)
    seen = (
        ", ".join(f"{count} {ending or 'without extension'}" for ending, count in endings.most_common(5)) or "no files"
    )
    example = next(_files_at_depth(folder, pattern.count("/")), None)
    hint = f"; at the pattern's depth for example {example!r}" if example else "; none at the pattern's depth"
    found = f"{folder}: no file matches {pattern!r}. The folder and those in it hold {seen}{hint}"
    return f"{found}. {OTHER_NAMES}. {SEVERAL_IN_A_FILE}"


def _pixel_size(folder: Path, paths: Mapping[str, str], given: float | None) -> dict[str, str]:
    if given is not None:
        return {"pixel_size_um": f"{given:g}", "pixel_size_source": "config"}
    size = ome_pixel_size_um(folder / next(iter(paths.values())))
    return {"pixel_size_um": f"{size:.8g}" if size else "", "pixel_size_source": "OME metadata" if size else ""}


def _write(rows: list[dict[str, str]], out: Path) -> pd.DataFrame:
    """Write the sheet, after reading it back as its user will."""
    order = ("field_id", *DESCRIPTION_COLUMNS, "pixel_size_um", "pixel_size_source", *PATH_COLUMNS)
    used = {name for row in rows for name in row}
    temporary = out.with_name(f".{out.stem}.tmp{out.suffix}")
    try:
        write_table(pd.DataFrame(rows, columns=[name for name in order if name in used]), temporary)
        fields, _ = read_sheet(temporary)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return fields
