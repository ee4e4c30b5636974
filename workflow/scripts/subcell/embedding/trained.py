"""A trained SubCell network from its checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path

from subcell.channels import CHANNELS
from subcell.embedding.vit import VitEmbedder
from subcell.errors import CheckpointError
from subcell.model.checkpoint import load_encoder

SCALE_TOLERANCE = 0.05
"""Pixel sizes of microscopes are known to a few per cent."""


def trained_subcell(
    name: str, checkpoint: str | Path, *, image_px: int, um_per_px: float, device: str = "cpu", precision: str = "32"
) -> VitEmbedder:
    """Embedder with the weights of a checkpoint.

    Parameters
    ----------
    name : the model's name
    checkpoint : safetensors file that carries its configuration
    image_px, um_per_px : what the crops are. The microns a pixel have to be those of the training; a checkpoint that
        does not tell them is taken to have seen the same field as these crops show.
    device, precision : see `VitEmbedder`

    Raises
    ------
    CheckpointError : missing, damaged, of other channels, or trained at another scale
    """
    encoder, config = load_encoder(checkpoint)
    if config["in_channels"] != len(CHANNELS):
        raise CheckpointError(
            f"{checkpoint} takes {config['in_channels']} channels; expected {len(CHANNELS)}: {', '.join(CHANNELS)}"
        )
    # A network reads crops of another side by interpolating its positions, but cells twice as large are new to it.
    trained_um = config.get("um_per_px", um_per_px * image_px / config["image_px"])
    if abs(trained_um / um_per_px - 1) > SCALE_TOLERANCE:
        raise CheckpointError(
            f"{checkpoint} was trained on crops of {config['image_px']} px at {trained_um:.3f} um a pixel, these have "
            f"{image_px} px at {um_per_px:.3f} um; set `crops.field_um` and `crops.pixels` to the same um a pixel"
        )
    description = {
        "kind": "subcell",
        "checkpoint_sha256": hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest(),
        "recipe": str(config.get("recipe", "")),
        "size": str(config.get("size", "")),
    }
    return VitEmbedder(
        name,
        encoder,
        description=description,
        requires=() if config.get("dropped_channels") else CHANNELS,
        device=device,
        precision=precision,
    )
