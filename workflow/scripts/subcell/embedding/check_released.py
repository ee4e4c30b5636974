"""Released weights on published crops against the released table of vectors: which scale and normalisation it was made with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from subcell.catalog.released import CHANNEL_SETS
from subcell.crops.store import MASKS
from subcell.embedding.network import passes
from subcell.errors import SubcellError
from subcell.model.network.inputs import Scaling
from subcell.model.weights.released import load_released
from subcell.tables import write_table

ENOUGH = 0.999
"""Median cosine from which a preset counts as the one that the table was made with."""


@dataclass(frozen=True)
class Preset:
    """A way to go from a published crop to the network.

    Attributes
    ----------
    centre_px : side of the square that is cut from the middle
    pixels : side that it is resized to
    masked, scaling : see `subcell.model.network.inputs.Inputs`
    """

    centre_px: int
    pixels: int
    masked: bool = True
    scaling: Scaling = "minmax"


PRESETS = {
    "paper": Preset(640, 640),
    "paper, surroundings kept": Preset(640, 640, masked=False),
    "paper, channels scaled apart": Preset(640, 640, scaling="channel"),
    "training scale": Preset(896, 448),
    "training scale, surroundings kept": Preset(896, 448, masked=False),
    "448 px at the paper's scale": Preset(448, 448),
}
"""What is published: the paper's inference, SubCellPortable's normalisation, and the scale of the training shards."""


def apply_preset(crop: NDArray[Any], preset: Preset) -> NDArray[Any]:
    """Cut the middle of a crop (6, H, W) and resize it: pixels linearly, masks to the nearest.

    A crop that is smaller than the square is surrounded by zeros.
    """
    side = preset.centre_px
    square = np.zeros((len(crop), side, side), crop.dtype)
    (there, here) = zip(*(_overlap(size, side) for size in crop.shape[1:]), strict=True)
    square[:, here[0], here[1]] = crop[:, there[0], there[1]]
    if preset.pixels == side:
        return square
    size = (preset.pixels, preset.pixels)
    how = [cv2.INTER_NEAREST] * len(MASKS) + [cv2.INTER_LINEAR] * (len(crop) - len(MASKS))
    return np.stack([cv2.resize(plane, size, interpolation=one) for plane, one in zip(square, how, strict=True)])


def _overlap(size: int, side: int) -> tuple[slice, slice]:
    """Where the middle lies in an axis of `size`, and where that goes in one of `side`."""
    start = (size - side) // 2
    there = slice(max(0, start), min(size, start + side))
    return there, slice(there.start - start, there.stop - start)


def check_released(
    crops: str | Path,
    weights: str | Path,
    out_tsv: str | Path,
    *,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> None:
    """Embed published crops by every preset and compare with their released vectors.

    Parameters
    ----------
    crops : folder of `subcell.crops.released.fetch_released_crops`
    weights : folder of `subcell.sources.weights.fetch_weights`
    out_tsv : table to write, the best first: preset, centre_px, pixels, masked, scaling, cosine (median), cosine_low
        (smallest), agrees, n
    device : `cpu` or `cuda`
    log : is told each preset's numbers

    Raises
    ------
    SubcellError : no preset gives the released vectors; the message has all numbers
    """
    crops, weights = Path(crops), Path(weights)
    released = np.load(crops / "vectors.npy", allow_pickle=False)
    encoder, _ = load_released(weights / "encoder.pth")
    encoder = encoder.to(device)
    channels = CHANNEL_SETS[weights.name.rpartition("_")[0]]
    if released.shape[1] != encoder.dim:
        raise SubcellError(f"the released vectors have {released.shape[1]} numbers, {weights.name} gives {encoder.dim}")
    rows = []
    for name, preset in PRESETS.items():
        inputs = passes(channels, masked=preset.masked, scaling=preset.scaling)[0]
        cosines = []
        for number, vector in enumerate(released):
            crop = torch.from_numpy(apply_preset(np.load(crops / f"{number}.npy"), preset)[None]).to(device)
            with torch.inference_mode():
                ours = encoder(inputs(crop)).vector[0].float().cpu().numpy()
            cosines.append(float(ours @ vector / max(np.linalg.norm(ours) * np.linalg.norm(vector), 1e-12)))
        median = float(np.median(cosines))
        rows.append(
            {
                "preset": name,
                **vars(preset),
                "cosine": median,
                "cosine_low": min(cosines),
                "agrees": median >= ENOUGH,
                "n": len(cosines),
            }
        )
        log(f"{name}: cosine {median:.5f}, smallest {min(cosines):.5f}")
    table = pd.DataFrame(rows).sort_values("cosine", ascending=False, kind="stable")
    if not table["agrees"].any():
        numbers = "; ".join(f"{row.preset}: {row.cosine:.4f}" for row in table.itertuples())
        raise SubcellError(f"no preset gives the released vectors (cosine at least {ENOUGH}): {numbers}")
    write_table(table, out_tsv, float_format="%.6g")
    log(f"the released vectors are those of the preset `{table['preset'].iloc[0]}`")
