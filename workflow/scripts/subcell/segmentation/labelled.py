"""Files that a sheet of labelled fields names. Imports little: the workflow asks while it is parsed."""

from __future__ import annotations

import csv
from pathlib import Path

from subcell.catalog.planes import split_plane
from subcell.channels import CHANNELS, REFERENCES


def labelled_files(sheet: str | Path) -> list[Path]:
    """Images and label images of a sheet of labelled fields, each once, sorted; none where there is no sheet.

    Parameters
    ----------
    sheet : csv, see `subcell.segmentation.fine_tune`. A file is listed whether it is there or not
    """
    sheet = Path(sheet)
    if not sheet.is_file():
        return []
    with sheet.open(newline="", encoding="utf-8-sig") as file:
        named = {row.get(column) for row in csv.DictReader(file) for column in (*CHANNELS, *REFERENCES)}
    return [sheet.parent / name for name in sorted({split_plane(text)[0] for text in named if text})]
