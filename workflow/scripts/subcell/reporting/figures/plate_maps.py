"""Pictures of plates: what every well holds, in its place."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.reporting.figures.canvas import STYLE, new_figure, save_figure, shown_text, text_figure

SHOWN = {"cell_count_ratio": "cells, against controls", "effect": "length of profile, against controls"}
MOST_PLATES = 24
WELL_IN = 0.22
LARGEST = 4.0
"""Ratios are shown on a logarithmic scale from a quarter to four times."""


def draw_plates(wells_parquet: str | Path, out_png: str | Path, *, title: str) -> None:
    """Draw a row of plates for each of `SHOWN`; control wells have a dot.

    Parameters
    ----------
    wells_parquet : as `subcell.benchmarks.tasks.perturbation` writes it: plate, well, control, and `SHOWN`
    out_png : picture to write
    title : above it
    """
    table = pd.read_parquet(wells_parquet)
    if "well" in table:
        table = table.assign(place=table["well"].map(place_of)).dropna(subset=["place"])
    if table.empty or "place" not in table:
        save_figure(text_figure("There are no wells of perturbations to show."), out_png)
        return
    plates = sorted(table["plate"].unique())
    rows, columns = (max(place[axis] for place in table["place"]) + 1 for axis in (0, 1))
    with matplotlib.rc_context(STYLE):
        shown = plates[:MOST_PLATES]
        figure = new_figure(
            max(4.0, len(shown) * (columns * WELL_IN + 0.5) + 0.8), len(SHOWN) * (rows * WELL_IN + 0.7) + 0.4
        )
        more = f" (the first {len(shown)} of {len(plates)} plates)" if len(shown) < len(plates) else ""
        figure.suptitle(shown_text(title, longest=100) + more, fontsize=9)
        axes = figure.subplots(len(SHOWN), len(shown), squeeze=False)
        for line, (column, label) in zip(axes, SHOWN.items(), strict=True):
            for axis, plate in zip(line, shown, strict=True):
                part = table[table["plate"] == plate]
                image = axis.imshow(
                    grid_of(part, column, (rows, columns)),
                    cmap="RdBu_r",
                    vmin=-np.log2(LARGEST),
                    vmax=np.log2(LARGEST),
                )
                controls = [
                    place
                    for place, control in zip(part["place"], part["control"], strict=True)
                    if control == "negative"
                ]
                axis.plot([place[1] for place in controls], [place[0] for place in controls], ".", color="black", ms=2)
                axis.set_title(shown_text(plate, longest=16), fontsize=7)
                axis.set_xticks(range(columns), [str(n + 1) for n in range(columns)], fontsize=5)
                axis.set_yticks(range(rows), [_letters(n) for n in range(rows)], fontsize=5)
            bar = figure.colorbar(image, ax=list(line), ticks=[-2, -1, 0, 1, 2], shrink=0.8)
            bar.set_ticklabels(["1/4", "1/2", "1", "2", "4"], fontsize=6)
            bar.set_label(label, fontsize=6)
        save_figure(figure, out_png, dpi=110)


def place_of(well: object) -> tuple[int, int] | None:
    """Row and column of a well, from 0; None where its name does not say.

    >>> place_of("B03"), place_of("AA1")
    ((1, 2), (26, 0))
    """
    found = re.fullmatch(r"([A-Za-z]{1,2})0*([1-9]\d?)", str(well).strip())
    if not found:
        return None
    row = 0
    for letter in found[1].upper():
        row = 26 * row + ord(letter) - ord("A") + 1
    return row - 1, int(found[2]) - 1


def grid_of(wells: pd.DataFrame, column: str, shape: tuple[int, int]) -> NDArray[np.floating]:
    """Doublings of a ratio in the place of each well, (rows, columns); nan where there is none."""
    grid = np.full(shape, np.nan)
    for place, value in zip(wells["place"], pd.to_numeric(wells[column], errors="coerce"), strict=True):
        if value > 0:
            grid[place] = np.log2(value)
    return grid


def _letters(row: int) -> str:
    return (_letters(row // 26 - 1) if row >= 26 else "") + chr(ord("A") + row % 26)
