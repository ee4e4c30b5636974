"""Pictures of fields with outlines, and of cropped cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from subcell.crops.store import MASKS, CropStore
from subcell.errors import ImageError
from subcell.imaging.read import read_field, read_ledger
from subcell.reporting.figures.canvas import (
    INK,
    MUTED,
    STYLE,
    new_figure,
    save_figure,
    shown_text,
    text_figure,
    with_commas,
)
from subcell.reporting.figures.composite import OUTLINE_COLORS, composite, outline, scale_bar, shrink, stretch
from subcell.segmentation.masks import open_masks

SHOWN_PX = 640
"""Longest side of a field in the gallery, in pixels."""

ENOUGH_CELLS = 20_000
"""Crop files are opened until they hold as many: from so many, some of every frequent kind are there."""

NO_CELL = "No cell was cropped, so there is none to show."

TILE_INCHES, TITLE_INCHES, GAP_INCHES = 3.5, 0.46, 0.1


@matplotlib.rc_context(STYLE)
def field_gallery(
    images_dirs: Sequence[str | Path],
    masks_paths: Sequence[str | Path],
    fields: pd.DataFrame,
    out_png: str | Path,
    *,
    n: int = 6,
    columns: int = 3,
) -> None:
    """Draw some fields of a dataset in colour, with the outlines of their cells and nuclei.

    Parameters
    ----------
    images_dirs : image folder of every shard, by its number
    masks_paths : masks of every shard, by its number
    fields : table of fields of all shards
    out_png : picture to write; without any field it holds a sentence that says so
    n : how many fields at most; a shard without one of them is not opened
    columns : how many side by side
    """
    ledgers, masks = cache(read_ledger), cache(open_masks)
    tiles: list[tuple[Any, NDArray[Any], NDArray[Any]]] = []
    for row in spread_over(fields, "locations", "cell_line").itertuples(index=False):
        if len(tiles) == n:
            break
        images_dir, store = images_dirs[row.shard], masks(masks_paths[row.shard])
        if row.field_id not in store.field_ids:
            continue
        try:
            image, _ = read_field(images_dir, ledgers(images_dir), row.field_id)
        except ImageError:
            continue  # set aside since, and named in the table of what was set aside
        tiles.append((row, image, np.stack(store.labels(row.field_id))))
    if not tiles:
        save_figure(text_figure("No field was segmented, so there is none to show."), out_png)
        return
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width, height = columns * (TILE_INCHES + GAP_INCHES) - GAP_INCHES, rows * (TILE_INCHES + TITLE_INCHES)
    figure = new_figure(width, height, layout=None)
    for number, (row, image, labels) in enumerate(tiles):
        left = (number % columns) * (TILE_INCHES + GAP_INCHES) / width
        top = 1 - (number // columns) * (TILE_INCHES + TITLE_INCHES) / height
        bottom = top - (TITLE_INCHES + TILE_INCHES) / height
        axes = figure.add_axes((left, bottom, TILE_INCHES / width, TILE_INCHES / height), anchor="NW")
        _draw_field(axes, image, labels, um_per_px=row.pixel_size_um)
        known = (shown_text(text, longest=38) for text in (with_commas(row.locations), row.cell_line))
        about = " · ".join(filter(None, known)) or "location not given"
        name = shown_text(row.field_id, longest=40, keep_end=12)
        figure.text(left, top - 0.22 / height, name, fontsize=9, weight="bold", color=INK, parse_math=False)
        figure.text(left, top - 0.38 / height, about, fontsize=8.5, color=MUTED, parse_math=False)
    save_figure(figure, out_png, dpi=160)


def _draw_field(axes: Axes, image: NDArray[Any], labels: NDArray[Any], *, um_per_px: float) -> None:
    """One field: colours, outlines of nuclei (`labels[0]`) and cells (`labels[1]`), scale bar."""
    image, labels, factor = shrink(image, labels, side_px=SHOWN_PX)
    height, width = image.shape[1:]
    axes.imshow(composite(np.stack([stretch(plane) for plane in image])), interpolation="lanczos")
    outline(axes, labels[1], color=OUTLINE_COLORS["cell"], width=0.9)
    outline(axes, labels[0], color=OUTLINE_COLORS["nucleus"], width=0.9, dashed=True)
    scale_bar(axes, width_px=width, height_px=height, um_per_px=um_per_px * factor)
    _frame(axes, width, height)


@matplotlib.rc_context(STYLE)
def crop_gallery(
    crops_path: str | Path | Iterable[str | Path],
    out_png: str | Path,
    *,
    rows: int = 6,
    cells: int = 10,
) -> None:
    """Draw cropped cells, a row for each location: above the protein alone in grey, below all stains in colour.

    Where no location is known a row is a gene, and without genes the cells stand in one row.

    Parameters
    ----------
    crops_path : crop files of a dataset; the first that hold `ENOUGH_CELLS` are opened
    out_png : picture to write; without any cell it holds a sentence that says so
    rows : how many locations or genes at most, the most frequent first
    cells : how many cells in a row
    """
    store = _open_enough(crops_path)
    groups = _groups_of_cells(store.obs, rows=rows, cells=cells)
    if not groups:
        save_figure(text_figure(NO_CELL), out_png)
        return
    gap, name_width = max(2, store.pixels // 32), 1.25
    strips = [(name, _strip(store.read(chosen), gap=gap)) for name, chosen in groups]
    store.close()
    inches_per_px = (9.6 - name_width) / max(strip.shape[1] for _, strip in strips)
    height = inches_per_px * strips[0][1].shape[0]
    figure = new_figure(9.6, (height + 0.1) * len(strips), layout=None)
    for number, (name, strip) in enumerate(strips):
        bottom = 1 - (number + 1) / len(strips)
        share = height / (height + 0.1) / len(strips)
        axes = figure.add_axes((name_width / 9.6, bottom, strip.shape[1] * inches_per_px / 9.6, share))
        axes.imshow(strip, interpolation="lanczos", aspect="auto")
        scale_bar(axes, width_px=store.pixels, height_px=strip.shape[0], um_per_px=store.um_per_px, fontsize=6.5)
        _frame(axes, strip.shape[1], strip.shape[0])
        lines = "\n".join(_wrapped(shown_text(name, longest=44), 15))
        figure.text(0, bottom + share / 2, lines, va="center", fontsize=9, color=INK, parse_math=False)
    save_figure(figure, out_png, dpi=160)


@matplotlib.rc_context(STYLE)
def line_gallery(
    crops_path: str | Path | Iterable[str | Path], out_png: str | Path, *, lines: int = 10, locations: int = 8
) -> None:
    """Draw one cell of each cell line and location: lines below each other, locations side by side, all stains.

    Parameters
    ----------
    crops_path : crop files of a dataset; the first that hold `ENOUGH_CELLS` are opened
    out_png : picture to write; without any cell, or any of known line and location, it holds a sentence that says so
    lines, locations : how many at most, the most frequent first
    """
    store = _open_enough(crops_path)
    table = store.obs.reset_index(drop=True)
    known = table[[name for name in ("cell_line", "locations") if name in table]].dropna()
    if known.shape[1] < 2 or known.empty:
        unknown = "Cell lines or locations are not known, so there is no gallery of both."
        save_figure(text_figure(unknown if len(store) else NO_CELL), out_png)
        return
    single = known[~known["locations"].str.contains(";")]
    known = single if len(single) else known
    columns = list(known["locations"].value_counts().index[:locations])
    rows = list(known["cell_line"].value_counts().index[:lines])
    table = table.loc[known.index].sort_values(["touches_border", "field_id", "label"], kind="stable")
    first = table.reset_index().groupby(["cell_line", "locations"], sort=False)["index"].first()
    side, gap = store.pixels, max(2, store.pixels // 32)
    sheet = np.ones((len(rows) * (side + gap) - gap, len(columns) * (side + gap) - gap, 3), np.float32)
    for y, line in enumerate(rows):
        for x, location in enumerate(columns):
            place = np.s_[y * (side + gap) : y * (side + gap) + side, x * (side + gap) : x * (side + gap) + side]
            sheet[place] = 0.95
            if (line, location) in first.index:
                planes = store.read([first[line, location]])[0, len(MASKS) :]
                sheet[place] = composite(np.stack([stretch(plane) for plane in planes]))
    store.close()
    name_width, head, cell = 1.1, 0.62, min(1.15, 8.5 / len(columns))
    width, height = name_width + cell * len(columns), head + cell * len(rows)
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((name_width / width, 0, 1 - name_width / width, 1 - head / height))
    axes.imshow(sheet, interpolation="lanczos", aspect="auto")
    scale_bar(axes, width_px=side, height_px=side, um_per_px=store.um_per_px, fontsize=6)
    _frame(axes, sheet.shape[1], sheet.shape[0])
    for y, line in enumerate(rows):
        middle = 1 - (head + (y + 0.5) * cell) / height
        figure.text(0, middle, shown_text(line, longest=16), va="center", fontsize=8.5, color=INK, parse_math=False)
    above: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8, "color": INK, "parse_math": False}
    for x, location in enumerate(columns):
        text = "\n".join(_wrapped(shown_text(location, longest=36), 14))
        figure.text((name_width + (x + 0.5) * cell) / width, 1 - (head - 0.06) / height, text, **above)
    save_figure(figure, out_png, dpi=150)


def _open_enough(paths: str | Path | Iterable[str | Path]) -> CropStore:
    """The first crop files that together hold `ENOUGH_CELLS`, or all."""
    opened, cells = [], 0
    for path in [paths] if isinstance(paths, str | Path) else paths:
        opened.append(path)
        cells += len(CropStore(path))
        if cells >= ENOUGH_CELLS:
            break
    return CropStore(opened)


def _strip(images: NDArray[Any], *, gap: int) -> NDArray[np.float32]:
    """Cells of a row side by side on white: (Y, X, 3), protein above, composite below.

    One contrast for the whole row: cells of a row can be compared in brightness.
    """
    side = images.shape[-1]
    planes = np.stack([stretch(images[:, number]) for number in range(len(MASKS), images.shape[1])], axis=1)
    strip = np.ones((2 * side + gap, len(images) * (side + gap) - gap, 3), np.float32)
    for number, cell in enumerate(planes):
        place = slice(number * (side + gap), number * (side + gap) + side)
        strip[:side, place] = cell[-1][..., None]
        strip[side + gap :, place] = composite(cell)
    return strip


def _groups_of_cells(obs: pd.DataFrame, *, rows: int, cells: int) -> list[tuple[str, list[int]]]:
    """Rows of the gallery: (name, numbers of cells), whole cells before those cut by the border, fields in turn."""
    table = obs.reset_index(drop=True)
    for column in ("locations", "gene"):
        if column in table and table[column].notna().any():
            names = table[column].str.replace(";", " + ", regex=False)
            break
    else:
        names = pd.Series("cells", index=table.index)
    table = table.assign(
        name=names,
        turn=table.sort_values(["touches_border", "label"]).groupby("field_id").cumcount(),
    )
    table = table[table["name"].notna()]
    # Single locations first: they show what a class looks like.
    order = table.groupby("name").size().reset_index(name="cells")
    order["several"] = order["name"].str.count(r" \+ ")
    shown = order.sort_values(["several", "cells", "name"], ascending=[True, False, True])["name"].head(rows)
    return [
        (name, list(table[table["name"] == name].sort_values(["touches_border", "turn", "field_id"]).index[:cells]))
        for name in shown
    ]


def spread_over(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Order rows so that the first ones differ most: every value of the first column once before any comes twice,
    and within those the values of the next columns in turn."""
    ordered = table.sort_values("field_id", kind="stable")
    for column in reversed(columns):
        keys = ordered[column].fillna("").astype(str)
        ordered = ordered.assign(turn=keys.groupby(keys).cumcount()).sort_values("turn", kind="stable")
    return ordered.drop(columns="turn", errors="ignore")


def _wrapped(text: str, width: int) -> Sequence[str]:
    """Lines of at most `width` characters, broken at spaces where there are any."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return [line if len(line) <= width + 4 else line[: width + 3] + "…" for line in lines]


def _frame(axes: Axes, width: int, height: int) -> None:
    """Nothing but the picture: no ticks, no spines, no margin."""
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
