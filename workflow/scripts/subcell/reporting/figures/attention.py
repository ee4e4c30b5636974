"""Pictures of where a network looks, over the cells that it looks at."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from subcell.crops.store import MASKS
from subcell.reporting.figures.canvas import STYLE, new_figure, save_figure, shown_text, text_figure
from subcell.reporting.figures.composite import composite, outline, scale_bar, stretch

HEADS_SHOWN = 4
"""Heads of the class token that are drawn: those that look at the fewest patches."""

SIDE_IN = 1.45


def draw_attention(examples_npz: str | Path, out_png: str | Path) -> None:
    """Draw cells with the attention of each head of the pooling, and of some heads of the class token.

    Parameters
    ----------
    examples_npz : as `subcell.embedding.attention.write_attention` writes it
    out_png : picture to write: a row a cell, its stains first
    """
    with np.load(examples_npz, allow_pickle=False) as file:
        found = dict(file)
    if "images" not in found or not ({"pooled", "class"} & set(found)):
        save_figure(text_figure("This network has no attention to show, or the dataset no cells."), out_png)
        return
    images = found["images"]
    columns = [(f"pooling {head + 1}", found["pooled"][:, head]) for head in range(_heads(found, "pooled"))]
    columns += [(f"class token {head + 1}", found["class"][:, head]) for head in _sharpest(found)]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(SIDE_IN * (1 + len(columns)), SIDE_IN * len(images) + 0.3)
        axes = figure.subplots(len(images), 1 + len(columns), squeeze=False)
        for row, crop in enumerate(images):
            cell = crop[1] > 0
            # As the network sees it: without the neighbours.
            planes = np.stack([stretch(np.where(cell, plane, 0)) for plane in crop[len(MASKS) :]])
            picture = composite(planes)
            side = crop.shape[-1]
            axes[row, 0].imshow(picture)
            axes[row, 0].set_ylabel(shown_text(found["cell_id"][row], longest=18, keep_end=6), fontsize=6)
            if row == 0:
                scale_bar(axes[0, 0], width_px=side, height_px=side, um_per_px=float(found["um_per_px"]), fontsize=6)
            for number, (title, maps) in enumerate(columns, start=1):
                attention = maps[row].astype(float)
                axes[row, number].imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=1)
                axes[row, number].imshow(
                    attention,
                    cmap="inferno",
                    alpha=0.65,
                    extent=(-0.5, side - 0.5, side - 0.5, -0.5),
                    interpolation="nearest",
                    vmin=0,
                    vmax=max(attention.max(), 1e-9),
                )
                if row == 0:
                    axes[row, number].set_title(title, fontsize=7)
            for axis in axes[row]:
                outline(axis, crop[1].astype(int), color="white", width=0.5)
                axis.set_xticks([])
                axis.set_yticks([])
        save_figure(figure, out_png, dpi=110)


def _heads(found: dict[str, NDArray[np.float16]], kind: str) -> int:
    return found[kind].shape[1] if kind in found else 0


def _sharpest(found: dict[str, NDArray[np.float16]]) -> list[int]:
    """Heads of the class token with the least entropy, in their order."""
    if "class" not in found:
        return []
    maps = found["class"].astype(float)
    share = maps / np.maximum(maps.sum(axis=(2, 3), keepdims=True), 1e-12)
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(axis=(2, 3)).mean(axis=0)
    return sorted(np.argsort(entropy, kind="stable")[:HEADS_SHOWN].tolist())
