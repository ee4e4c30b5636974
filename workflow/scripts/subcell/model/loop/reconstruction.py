"""What a masked autoencoder makes of hidden patches: a picture, and its error inside and outside the cell by channel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from subcell.crops.store import CropStore
from subcell.model.data.batches import View
from subcell.model.loop.pretraining import Pretraining
from subcell.model.network.decoder import patchify
from subcell.model.network.inputs import mask_and_scale
from subcell.model.objectives.losses import normalized_patches
from subcell.replacing import replacing
from subcell.tables import write_table

SHOWN = 5
MEASURED = 256
GAP = 2
HEADER = 18
HIDDEN = 0.5
"""Grey of what was not seen."""
BATCH = 64


def unpatchify(patches: torch.Tensor, channels: int) -> torch.Tensor:
    """Put patches (N, T, patch * patch * C) of square images back: (N, C, H, W); undoes `patchify`."""
    count, tokens, numbers = patches.shape
    side, patch = round(tokens**0.5), round((numbers / channels) ** 0.5)
    grid = patches.reshape(count, side, side, patch, patch, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(count, channels, side * patch, side * patch)


@torch.inference_mode()
def write_reconstructions(
    network: Pretraining,
    store: CropStore,
    rows: NDArray[np.int64],
    out_png: str | Path,
    out_tsv: str | Path,
    *,
    seed: int,
) -> None:
    """Hide patches of some cells as in training, and write what the network puts there.

    Parameters
    ----------
    network : with a decoder
    store, rows : cells to take them from, evenly
    out_png : picture: a row a cell; for each channel the cell, what of it was seen, and the hidden patches filled in
    out_tsv : table: channel, where (`inside` or `outside` the cell's mask), pixels, `error`, the mean squared error of hidden
        pixels, and `error_of_mean`, that of filling each patch with its mean; both of patches brought to mean 0 and
        variance 1 over their pixels and channels, as the loss has them
    seed : of the hidden patches
    """
    assert network.decoder is not None
    network.eval()
    device = next(network.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(MEASURED, len(rows))).round().astype(int))]
    errors, pictures = [], []
    for start in range(0, len(rows), BATCH):
        crops = torch.from_numpy(store.read(rows[start : start + BATCH]).astype(np.float32)).to(device)
        own = crops[:, 1] > 0
        images = mask_and_scale(network.recipe.stains(crops), torch.ones_like(own), scaling=network.recipe.scaling)
        keep = network.choose(View(images, own), generator)
        assert keep is not None
        predicted = network.decoder(network.encoder(images, keep).tokens, keep).float()
        patches = patchify(images, network.encoder.patch)
        target, mean, deviation = normalized_patches(patches)
        hidden = torch.ones(patches.shape[:2], device=device).scatter(1, keep, 0.0)[..., None]
        errors.append(_errors(predicted, target, hidden, own, network.recipe.channels))
        if start == 0:
            filled = torch.where(hidden > 0, predicted * deviation + mean, patches)
            seen = torch.where(hidden > 0, torch.full_like(patches, torch.nan), patches)
            stages = [unpatchify(stage, images.shape[1])[:SHOWN] for stage in (patches, seen, filled)]
            pictures = [stage.clamp(0, 1).cpu().numpy() for stage in stages]
    network.train()
    table = pd.concat(errors).groupby(["channel", "where"], sort=False).sum().reset_index()
    for name in ("error", "error_of_mean"):
        table[name] /= table["pixels"].clip(lower=1)
    write_table(table, out_tsv, float_format="%.6g")
    with replacing(out_png) as to:
        if not cv2.imwrite(str(to), _panel(pictures, network.recipe.channels)):
            raise OSError(f"{out_png}: could not be written")


def _errors(
    predicted: torch.Tensor, target: torch.Tensor, hidden: torch.Tensor, own: torch.Tensor, channels: tuple[str, ...]
) -> pd.DataFrame:
    """Sums over the hidden pixels of some cells, by channel, inside and outside."""
    wrong = unpatchify((predicted - target).square() * hidden, len(channels))
    flat = unpatchify(target.square() * hidden, len(channels))
    counted = unpatchify(hidden.expand_as(target), len(channels))
    rows = []
    for number, channel in enumerate(channels):
        for where, there in (("inside", own), ("outside", ~own)):
            sums = [float((values[:, number] * there).sum(dtype=torch.float64)) for values in (counted, wrong, flat)]
            rows.append((channel, where, int(sums[0]), *sums[1:]))
    return pd.DataFrame(rows, columns=["channel", "where", "pixels", "error", "error_of_mean"])


def _panel(stages: list[NDArray[np.float32]], names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Cells below each other, channels side by side, each as it was, as it was seen, as it was filled in."""
    cells, channels, height, width = stages[0].shape
    sheet = np.full((HEADER + cells * (height + GAP), channels * (3 * (width + GAP) + 2 * GAP)), 255, np.uint8)
    for channel in range(channels):
        left = channel * (3 * (width + GAP) + 2 * GAP)
        cv2.putText(sheet, names[channel], (left + 2, HEADER - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 0, 1, cv2.LINE_AA)
        for cell in range(cells):
            # One brightness for the three, or a failure would look like a difference of contrast.
            brightest = max(float(stages[0][cell, channel].max()), 1e-6)
            for number, stage in enumerate(stages):
                x, y = left + number * (width + GAP), HEADER + cell * (height + GAP)
                tile = np.nan_to_num(stage[cell, channel] / brightest, nan=HIDDEN).clip(0, 1)
                sheet[y : y + height, x : x + width] = (255 * tile).round().astype(np.uint8)
    return sheet
