"""What a model must not need: how many cells there are, how large and how bright they are, and their outline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from subcell.channels import CHANNELS
from subcell.crops.store import MASKS
from subcell.embedding.mask_shape import MASK_SHAPES, mask_shape
from subcell.embedding.models import Embedded

COLUMNS = ("cells_in_field", "nucleus_area_um2", "cell_area_um2", "clipped_fraction")


class Shortcuts:
    """Vector of shortcuts: if these numbers solve a benchmark, the benchmark says nothing about proteins."""

    requires: Sequence[str] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.features = (
            *COLUMNS,
            *(f"mean_{channel}" for channel in CHANNELS),
            *(f"{mask}_{shape}" for mask in MASKS for shape in MASK_SHAPES),
        )
        self.description = {"kind": "shortcuts", "checkpoint_sha256": "", "normalisation": "none"}

    def embed(self, images: NDArray[Any], obs: pd.DataFrame) -> Embedded:
        """See `Embedder.embed`; reads `cells_in_field` and the areas from `obs`, the rest from the images."""
        vectors = np.zeros((len(images), len(self.features)), np.float32)
        vectors[:, : len(COLUMNS)] = obs[list(COLUMNS)].to_numpy(float)
        for vector, crop in zip(vectors, images, strict=True):
            nucleus, cell, channels = crop[0], crop[1], crop[2:]
            pixels = channels[:, cell != 0]
            means = pixels.mean(axis=1) if pixels.size else np.zeros(len(CHANNELS))
            shapes = [mask_shape(mask, depth=depth_of(mask)) for mask in (nucleus, cell)]
            vector[len(COLUMNS) :] = np.concatenate([means, *shapes])
        return Embedded(np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0))


def depth_of(mask: NDArray[Any]) -> NDArray[np.float32]:
    """Distance of each pixel inside a mask to the nearest pixel outside; the edge of the crop is outside."""
    # OpenCV's precise distances differ in their last digit from run to run, and rings are drawn by them.
    return ndimage.distance_transform_edt(np.pad(mask != 0, 1))[1:-1, 1:-1].astype(np.float32)
