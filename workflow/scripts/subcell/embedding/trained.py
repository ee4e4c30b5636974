"""A trained SubCell network from its checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path

from subcell.channels import CHANNELS
from subcell.embedding.vit import VitEmbedder
from subcell.errors import CheckpointError
from subcell.model.checkpoint import load_encoder


def trained_subcell(
    name: str, checkpoint: str | Path, *, image_px: int, um_per_px: float, device: str = "cpu", precision: str = "32"
) -> VitEmbedder:
    """Embedder with the weights of a checkpoint.

    Parameters
    ----------
    name : the model's name
    checkpoint : safetensors file that carries its configuration
    image_px, um_per_px : what the crops are; they have to be what the network was trained on
    device, precision : see `VitEmbedder`

    Raises
    ------
    CheckpointError : missing, damaged, or trained on crops of another size
    """
    encoder, config = load_encoder(checkpoint)
    if config["image_px"] != image_px:
        raise CheckpointError(
            f"{checkpoint} was trained on crops of {config['image_px']} px, these have {image_px} px; "
            "set `crops.pixels` to the training's value or train on these crops"
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
        image_px=image_px,
        device=device,
        precision=precision,
    )
