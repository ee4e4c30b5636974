"""The untrained network: what the architecture and the images give without any learning."""

from __future__ import annotations

from subcell.channels import CHANNELS
from subcell.embedding.vit import VitEmbedder
from subcell.model.encoder import build_encoder


def random_vit(name: str, *, size: str, seed: int, image_px: int, device: str = "cpu") -> VitEmbedder:
    """Embedder with freshly drawn weights; the same size and seed give the same network.

    Parameters
    ----------
    name : the model's name
    size, seed : as in `subcell.model.encoder.build_encoder`
    image_px : side of the crops in pixels
    device : `cpu` or `cuda`
    """
    encoder = build_encoder(
        size=size, in_channels=len(CHANNELS), image_px=image_px, positions="learned", pooling=True, seed=seed
    )
    description = {"kind": "random_vit", "checkpoint_sha256": "", "size": size, "seed": seed}
    return VitEmbedder(name, encoder, description=description, device=device)
