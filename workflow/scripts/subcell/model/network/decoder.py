"""The masked autoencoder's decoder: from the tokens that were seen to the pixels of all patches."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import nn

from subcell.model.network.encoder import LAYER_NORM, initialize, sincos_positions
from subcell.model.network.sizes import Size


class Decoder(nn.Module):
    """Transformer decoder of He et al. 2021 (arXiv 2111.06377), with fixed positions.

    Parameters
    ----------
    size : of the network
    in_channels : image channels
    side : patches a side
    """

    positions: torch.Tensor

    def __init__(self, *, size: Size, in_channels: int, side: int) -> None:
        super().__init__()
        width = size.decoder_width
        self.embed = nn.Linear(size.width, width)
        self.hidden_token = nn.Parameter(torch.zeros(1, 1, width))
        positions = torch.zeros(1, 1 + side**2, width)
        positions[:, 1:] = sincos_positions(side, width)
        self.register_buffer("positions", positions)
        self.blocks = nn.Sequential(
            *(Block(width, size.decoder_heads, qkv_bias=True, norm_layer=LAYER_NORM) for _ in range(size.decoder_depth))
        )
        self.norm = LAYER_NORM(width)
        self.pixels = nn.Linear(width, size.patch**2 * in_channels)
        initialize(self, size.initial_std)
        nn.init.normal_(self.hidden_token, std=0.02)

    def forward(self, tokens: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Predict the pixels of all patches.

        Parameters
        ----------
        tokens : (N, K + 1, C) from the encoder, class token first
        keep : (N, K) which patches they are

        Returns
        -------
        (N, T, patch * patch * channels), in the order of `patchify`
        """
        embedded = self.embed(tokens)
        patches = self.hidden_token.to(embedded.dtype).expand(len(tokens), self.positions.shape[1] - 1, -1)
        patches = patches.scatter(1, keep[..., None].expand(-1, -1, embedded.shape[-1]), embedded[:, 1:])
        everything = torch.cat((embedded[:, :1], patches), dim=1) + self.positions
        return self.pixels(self.norm(self.blocks(everything))[:, 1:])


def patchify(images: torch.Tensor, patch: int) -> torch.Tensor:
    """Cut images (N, C, H, W) into patches (N, T, patch * patch * C), row by row; the channel runs fastest."""
    count, channels, height, width = images.shape
    grid = images.reshape(count, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, patch * patch * channels)
