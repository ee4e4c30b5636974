"""Small pictures of the cells of every unit of a map, all in one image."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from subcell.channels import CHANNELS
from subcell.crops.store import MASKS, CropStore
from subcell.reporting.figures.composite import composite, stretch

CHOICES = ((6, 96), (6, 72), (4, 72), (3, 64), (2, 64), (2, 48), (1, 48), (1, 32))
"""(cells a unit, pixels a cell), the best first; the first that fits is taken."""

BYTES_A_PIXEL = 0.22
"""Of a JPEG of cells; a first guess that decides which choice fits."""


@dataclass(frozen=True)
class Tiles:
    """Pictures of cells, tile by tile.

    Attributes
    ----------
    jpeg : the picture: tiles in rows from the top left, each with all stains on the left and the protein on the right
    side_px : side of one of the two halves of a tile
    columns : tiles in a row
    starts : (units + 1,) the tiles of unit i are starts[i] to starts[i + 1] - 1
    cells : (tiles,) rows of the table of cells
    """

    jpeg: bytes
    side_px: int
    columns: int
    starts: NDArray[np.int64]
    cells: NDArray[np.int64]


def choose_size(units: int, *, max_bytes: int) -> tuple[int, int]:
    """Cells a unit and pixels a cell so that all pictures take about `max_bytes` at most; the smallest where none fits."""
    for cells, side in CHOICES:
        if units * cells * 2 * side**2 * BYTES_A_PIXEL <= max_bytes:
            return cells, side
    return CHOICES[-1]


def choose_cells(
    unit: NDArray[np.integer],
    distance: NDArray[np.floating],
    whole: NDArray[np.bool_],
    *,
    units: int,
    most: int,
) -> list[NDArray[np.int64]]:
    """Cells that stand for each unit: the most typical first, then evenly from typical to unusual.

    Parameters
    ----------
    unit : (cells,) number of each cell's unit, `units` for none
    distance : (cells,) from the mean vector of the unit
    whole : (cells,) False for cells cut by the border, taken only where a unit has too few others
    most : cells a unit at most

    Returns
    -------
    for each unit the rows of its cells
    """
    order = np.lexsort((distance, ~whole, unit))
    bounds = np.searchsorted(unit[order], np.arange(units + 1))
    chosen = []
    for number in range(units):
        mine = order[bounds[number] : bounds[number + 1]]
        enough = mine[whole[mine]] if whole[mine].sum() >= most else mine
        places = np.unique(np.linspace(0, len(enough) - 1, min(most, len(enough))).round().astype(int))
        chosen.append(enough[places].astype(np.int64))
    return chosen


def draw_tiles(
    crops: CropStore, cell_ids: pd.Index, chosen: Sequence[NDArray[np.int64]], *, side_px: int, quality: int = 80
) -> Tiles | None:
    """Draw the chosen cells; None where there are none.

    Parameters
    ----------
    crops : crops of the dataset
    cell_ids : names of all cells of the table that `chosen` counts in
    chosen : for each unit the rows of its cells; those without a crop are left out
    side_px : side of a picture in pixels

    Notes
    -----
    The cells of a unit share their contrast, stain by stain, so they can be compared with each other but not with those
    of another unit.
    """
    places = crops.obs.index.get_indexer(cell_ids)
    kept = [rows[places[rows] >= 0] for rows in chosen]
    cells = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    if not len(cells):
        return None
    columns = max(1, round(math.sqrt(len(cells) / 2)))
    sheet = Image.new("RGB", (columns * 2 * side_px, math.ceil(len(cells) / columns) * side_px))
    tile = 0
    for rows in kept:
        for picture in _pictures(crops.read(places[rows])) if len(rows) else ():
            small = Image.fromarray(picture).resize((2 * side_px, side_px), Image.Resampling.BOX)
            sheet.paste(small, (tile % columns * 2 * side_px, tile // columns * side_px))
            tile += 1
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=quality)
    starts = np.cumsum([0, *(len(rows) for rows in kept)])
    return Tiles(buffer.getvalue(), side_px, columns, starts, cells)


def _pictures(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Crops (N, 6, side, side) as pictures (N, side, 2 * side, 3): all stains, then the protein alone."""
    planes = np.stack([stretch(images[:, len(MASKS) + number]) for number in range(len(CHANNELS))], axis=1)
    protein = np.repeat(planes[:, -1, :, :, None], 3, axis=-1)
    pictures = np.concatenate([np.stack([composite(cell) for cell in planes]), protein], axis=2)
    return (pictures * 255).round().astype(np.uint8)
