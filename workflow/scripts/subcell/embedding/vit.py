"""A SubCell network, trained or not, as an embedder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from subcell.model.encoder import Encoder
from subcell.model.inputs import mask_and_scale

NORMALISATION = "multiplied by the cell mask, then min-max over all channels and pixels of the cell"


class VitEmbedder:
    """Embed cells with a vision transformer.

    Parameters
    ----------
    name, description, requires : see `subcell.embedding.models.Embedder`
    encoder : as `subcell.model.encoder.build_encoder` makes it
    device : `cpu` or `cuda`
    precision : `32`, or `bf16` to compute in bfloat16 where that is safe
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        *,
        description: Mapping[str, Any],
        requires: Sequence[str] = (),
        device: str = "cpu",
        precision: str = "32",
    ) -> None:
        self.name = name
        self.requires = tuple(requires)
        self.description = {**description, "normalisation": NORMALISATION, "precision": precision}
        self._encoder = encoder.to(device).eval()
        self._device = device
        self._autocast = precision == "bf16"
        self.features = tuple(f"vector_{i}" for i in range(encoder.dim))

    @torch.inference_mode()
    def embed(self, images: NDArray[Any], obs: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.float16] | None]:
        """See `subcell.embedding.models.Embedder.embed`; `obs` is not looked at."""
        # Torch knows little of uint16.
        pixels = torch.from_numpy(images[:, 2:].astype(np.float32)).to(self._device)
        masks = torch.from_numpy(images[:, 1].astype(np.float32)).to(self._device)
        with torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=self._autocast):
            vectors, _, attention = self._encoder(mask_and_scale(pixels, masks))
        maps = None if attention is None else _maps(attention, images.shape[-2:])
        return vectors.float().cpu().numpy(), maps


def _maps(attention: torch.Tensor, image_px: tuple[int, ...]) -> NDArray[np.float16]:
    """Attention (N, heads, tokens) over class token and patches as maps (N, heads, h, w) of the patches."""
    height, width = image_px
    patches = attention.shape[-1] - 1
    rows = round((patches * height / width) ** 0.5)
    return attention[..., 1:].unflatten(-1, (rows, patches // rows)).to(torch.float16).cpu().numpy()
