"""Weights that a training starts from, instead of random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from subcell.errors import CheckpointError
from subcell.hashing import sha256_of
from subcell.model.loop.pretraining import Pretraining
from subcell.model.network.sizes import Size
from subcell.model.weights.checkpoint import SCALE_TOLERANCE, load_encoder

KEPT = ("recipe", "size", "scaling", "data_sha256", "training_cells", "start", "seen")
"""What a checkpoint says of the network that it started from."""


def start_from(network: Pretraining, path: str | Path, *, size: Size, um_per_px: float) -> dict[str, Any]:
    """Take encoder and pooling from a checkpoint, all of them; decoder, heads and classifier begin anew.

    Parameters
    ----------
    network : gets the weights
    path : checkpoint of this workflow
    size : of the network
    um_per_px : pixel size of the crops that are learned from

    Returns
    -------
    what the new checkpoint says of the old one: its hash, what it was trained as and on, what that one started from

    Raises
    ------
    CheckpointError : the file is missing, damaged, or of another network than is to be trained
    """
    encoder, config = load_encoder(path)
    ours = {
        "size": Size(**config["architecture"]) == size,
        "channels": list(config.get("channels") or []) == list(network.recipe.channels),
        "positions": config["positions"] == network.recipe.positions,
        "pooling": bool(config["pooling"]) == network.recipe.pooling,
        "image_px": encoder.side == network.encoder.side,
        "scaling": config.get("scaling", "minmax") == network.recipe.scaling,
        "um_per_px": abs(config.get("um_per_px", um_per_px) / um_per_px - 1) <= SCALE_TOLERANCE,
    }
    if differs := [name for name, same in ours.items() if not same]:
        raise CheckpointError(
            f"{path}: this training cannot start from it, since it differs in {', '.join(differs)}. It is of recipe "
            f"{config.get('recipe')!r}, size {config.get('size')!r}, scaling {config.get('scaling')!r}, positions "
            f"{config['positions']!r}, {config['image_px']} px of {config.get('um_per_px', 0):.3f} um, channels "
            f"{', '.join(config.get('channels') or [])}: set the model and `crops` alike, or leave `start` out"
        )
    network.encoder.load_state_dict(encoder.state_dict(), strict=True)
    return {"sha256": sha256_of(path), **{key: config[key] for key in KEPT if key in config}}
