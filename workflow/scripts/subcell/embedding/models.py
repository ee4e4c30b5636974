"""What turns cells into vectors: one interface, four kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.crops.store import CropStore
from subcell.errors import CheckpointError, ConfigError

NETWORKS = ("subcell", "random_vit")
KINDS = (*NETWORKS, "handcrafted", "shortcuts")


class Embedder(Protocol):
    """A model as the embed stage sees it.

    Attributes
    ----------
    name : the model's name in the configuration
    features : a name for each number of a vector
    requires : channels that a dataset must have; a channel that is missing and not named here is read as zeros
    description : what goes with the vectors into `uns`: kind, checkpoint, normalisation, plain values only
    """

    @property
    def name(self) -> str: ...

    @property
    def features(self) -> Sequence[str]: ...

    @property
    def requires(self) -> Sequence[str]: ...

    @property
    def description(self) -> Mapping[str, Any]: ...

    def embed(self, images: NDArray[Any], obs: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.float16] | None]:
        """Embed some cells.

        Parameters
        ----------
        images : (N, 6, H, W) uint8 or uint16: nucleus mask, cell mask, microtubules, ER, nucleus, protein
        obs : (N, ...) their rows of the crop table

        Returns
        -------
        vectors : (N, len(features)) float32
        attention : (N, heads, h, w) float16, where the pooling looks, each map summing to 1 or less (the class token
            has the rest); None for models without attention
        """


def build_embedder(
    name: str,
    settings: Mapping[str, Any],
    *,
    crops: str | Path,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
) -> Embedder:
    """Make the embedder that a block of `models:` in the configuration describes.

    Parameters
    ----------
    name : key of the block
    settings : the block: `kind`, and for `random_vit` its `size` and `seed`
    crops : one crop file of the dataset, from which an untrained network takes its image size
    checkpoint : weights, for kind `subcell`
    device : `cpu` or `cuda`, for the networks

    Raises
    ------
    ConfigError : an unknown kind
    CheckpointError : kind `subcell` without a checkpoint, or with one that does not fit the crops
    """
    kind = settings["kind"]
    if kind == "handcrafted":
        from subcell.embedding.handcrafted import Handcrafted

        return Handcrafted(name)
    if kind == "shortcuts":
        from subcell.embedding.shortcuts import Shortcuts

        return Shortcuts(name)
    store = CropStore(crops)
    if kind == "random_vit":
        from subcell.embedding.random_vit import random_vit

        return random_vit(name, size=settings["size"], seed=settings["seed"], image_px=store.pixels, device=device)
    if kind == "subcell":
        from subcell.embedding.trained import trained_subcell

        if checkpoint is None:
            raise CheckpointError(f"model {name!r} has no checkpoint; train it first or name one in `checkpoint`")
        return trained_subcell(name, checkpoint, image_px=store.pixels, um_per_px=store.um_per_px, device=device)
    raise ConfigError(f"model {name!r} is of kind {kind!r}; expected one of {', '.join(KINDS)}")
