"""Where networks look: how much of their attention lies in the cell, in its nucleus and on each stain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from subcell.channels import CHANNELS
from subcell.crops.store import MASKS, CropStore
from subcell.embedding.models import ATTENTION, CLASS_ATTENTION, Embedder, require_channels
from subcell.embedding.sampling import sample_cells
from subcell.replacing import replacing
from subcell.tables import write_table

KINDS = {ATTENTION: "pooled", CLASS_ATTENTION: "class"}
COLUMNS = ("kind", "head", "statistic", "mean", "sd", "uniform", "n_cells")
STATISTICS = (
    *("fraction_cell", "fraction_nucleus"),
    *(f"fraction_{channel}_signal" for channel in CHANNELS),
    *(f"correlation_{channel}" for channel in CHANNELS),
)


def write_attention(
    crops: Sequence[str | Path],
    embedder: Embedder,
    out_tsv: str | Path,
    out_examples: str | Path,
    *,
    cells: int = 128,
    shown: int = 6,
    batch_size: int = 32,
) -> None:
    """Measure where a network looks, on some cells of a dataset.

    Parameters
    ----------
    crops : crop files of the dataset
    embedder : gives maps of attention
    out_tsv : table to write, a row a head and statistic (`STATISTICS`): kind (`pooled` of the pooling, `class` of the class
        token in the last block), head, statistic, mean and sd over cells, uniform (what attention spread evenly over the
        crop would give), n_cells
    out_examples : npz file to write for a figure: images (shown, 6, H, W), cell_id, um_per_px, and the maps by kind
    cells, shown : measured, and kept for the figure; chosen by a hash of their id, so that shards do not matter
    batch_size : cells at a time

    Raises
    ------
    SubcellError : the model needs a channel that a field does not have
    """
    store = CropStore(crops)
    require_channels(store.obs, embedder, Path(crops[0]).parent)
    rows = sample_cells(store.obs, cells)
    measured: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
    even: list[NDArray[np.float64]] = []
    examples: dict[str, list[Any]] = {"images": [], **{kind: [] for kind in KINDS.values()}}
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        images = store.read(part)
        found = embedder.embed(images, store.obs.iloc[part])
        maps = {KINDS[name]: np.asarray(found.more[name], np.float64) for name in KINDS if name in found.more}
        left = max(0, shown - start)
        examples["images"].extend(images[:left])
        for kind, values in maps.items():
            examples[kind].extend(values[:left].astype(np.float16))
        for number, crop in enumerate(images):
            signals = patch_signals(crop, next(iter(maps.values())).shape[-2:]) if maps else None
            if signals is None:
                continue
            flat = np.ones(signals.fractions.shape[1:])
            even.append(measure(flat, signals))
            for kind, values in maps.items():
                for head, attention in enumerate(values[number], start=1):
                    measured.setdefault((kind, head), []).append(measure(attention, signals))
    um_per_px = store.um_per_px
    store.close()
    table = _summary(measured, even)
    write_table(table, out_tsv, float_format="%.5g")
    kept = {name: np.stack(values) for name, values in examples.items() if values}
    ids = np.array([str(cell) for cell in store.obs.index[rows[: len(examples["images"])]]])
    with replacing(out_examples) as to, open(to, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **kept, cell_id=ids, um_per_px=np.array(um_per_px))


class Signals:
    """What attention is compared with, on the patches of one crop.

    Attributes
    ----------
    fractions : (2 + channels, h, w), share of each patch that is cell, nucleus, or signal of a channel
    intensities : (channels, h, w), mean of each channel over the patch, cell alone
    """

    def __init__(self, fractions: NDArray[np.float64], intensities: NDArray[np.float64]) -> None:
        self.fractions = fractions
        self.intensities = intensities


def patch_signals(crop: NDArray[Any], grid: tuple[int, int]) -> Signals:
    """Average a crop over the patches of a network.

    Parameters
    ----------
    crop : (6, H, W), nucleus mask, cell mask, then the channels; a channel's signal is what lies above Otsu's threshold of
        its pixels in the cell
    grid : patches (rows, columns); the crop is cut to whole patches
    """
    nucleus, cell = crop[0] > 0, crop[1] > 0
    planes = [cell, nucleus & cell]
    intensities = []
    for plane in crop[len(MASKS) :]:
        inside = plane[cell]
        bright = inside.size and inside.max() > inside.min()
        planes.append(cell & (plane > threshold_otsu(inside)) if bright else np.zeros_like(cell))
        intensities.append(np.where(cell, plane, 0))
    return Signals(patch_means(np.stack(planes), grid), patch_means(np.stack(intensities), grid))


def measure(attention: NDArray[np.float64], signals: Signals) -> NDArray[np.float64]:
    """The statistics of one map of attention over patches (h, w), in the order of `STATISTICS`.

    A fraction is the share of the attention on patches that lies on the signal, a patch counting by the share of it that
    is signal; a correlation is Pearson's over patches, nan where either is constant.
    """
    total = attention.sum()
    weights = attention / total if total > 0 else attention
    fractions = (signals.fractions * weights).sum(axis=(1, 2))
    centred = weights - weights.mean()
    others = signals.intensities - signals.intensities.mean(axis=(1, 2), keepdims=True)
    norms = np.sqrt((others**2).sum(axis=(1, 2)) * (centred**2).sum())
    # A constant map is constant but for rounding.
    varies = norms > 1e-12 * max(1.0, float(np.abs(signals.intensities).max(initial=0)))
    products = (others * centred).sum(axis=(1, 2))
    correlations = np.divide(products, norms, out=np.full(len(norms), np.nan), where=varies)
    return np.concatenate([fractions, correlations])


def patch_means(planes: NDArray[Any], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Means (P, h, w) of planes (P, H, W) over patches."""
    rows, columns = (side // count for side, count in zip(planes.shape[1:], grid, strict=True))
    whole = planes[:, : rows * grid[0], : columns * grid[1]].astype(np.float64)
    return whole.reshape(len(planes), grid[0], rows, grid[1], columns).mean(axis=(2, 4))


def _summary(
    measured: Mapping[tuple[str, int], Sequence[NDArray[np.float64]]], even: Sequence[NDArray[np.float64]]
) -> pd.DataFrame:
    table = []
    for (kind, head), cells in sorted(measured.items(), key=lambda item: (item[0][0] != "pooled", item[0])):
        values, uniform = np.stack(cells), np.stack(even)
        for number, statistic in enumerate(STATISTICS):
            known = values[:, number][np.isfinite(values[:, number])]
            reference = uniform[:, number]
            table.append(
                {
                    "kind": kind,
                    "head": head,
                    "statistic": statistic,
                    "mean": known.mean() if len(known) else np.nan,
                    "sd": known.std() if len(known) else np.nan,
                    "uniform": 0.0 if statistic.startswith("correlation") else reference.mean(),
                    "n_cells": len(known),
                }
            )
    return pd.DataFrame(table, columns=list(COLUMNS))
