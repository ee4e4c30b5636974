"""The encoder: a vision transformer and the pooling that turns its tokens into one vector a cell."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from timm.layers import GroupNorm1, PatchEmbed, resample_abs_pos_embed
from timm.models import checkpoint_seq
from timm.models.vision_transformer import Block
from timm.models.vision_transformer_hybrid import ConvStem
from torch import nn

from subcell.model.network.pooling import GatedAttentionPooling, MeanPooling
from subcell.model.network.sizes import Size, patches_a_side, size_named

Positions = Literal["learned", "sincos"]

LAYER_NORM: Any = partial(nn.LayerNorm, eps=1e-12)
"""Epsilon of the reference implementation (Hugging Face ViT)."""


PARTS = ("weight", "bias")


class Encoded(NamedTuple):
    """What the encoder gives.

    Attributes
    ----------
    vector : (N, D), the embedding of each cell
    tokens : (N, T + 1, C), class token first, after the last LayerNorm
    attention : (N, heads, T + 1), the pooling's weights, class token first; None with mean pooling
    class_attention : (N, heads of the transformer, T + 1), how the class token looks at all tokens in the last block;
        None unless asked for
    """

    vector: torch.Tensor
    tokens: torch.Tensor
    attention: torch.Tensor | None
    class_attention: torch.Tensor | None = None


class Encoder(nn.Module):
    """Vision transformer with pre-normalisation, class token and pooling; see `build_encoder`."""

    def __init__(
        self, *, size: Size, in_channels: int = 4, image_px: int, positions: Positions = "learned", pooling: bool = True
    ) -> None:
        super().__init__()
        self.checkpointing = False
        """Whether the backward pass computes activations of blocks again instead of keeping them."""
        self.side = patches_a_side(image_px, size.patch)
        self.patch = size.patch
        self.patch_embed = (
            Convolutions(size, in_channels) if size.stem else PatchEmbed(None, size.patch, in_channels, size.width)
        )
        self.class_token = nn.Parameter(torch.zeros(1, 1, size.width))
        table = torch.zeros(1, 1 + self.side**2, size.width)
        if positions == "learned":
            self.positions = nn.Parameter(table)
        else:
            table[:, 1:] = sincos_positions(self.side, size.width)
            self.register_buffer("positions", table)
        self.blocks = nn.Sequential(
            *(Block(size.width, size.heads, qkv_bias=True, norm_layer=LAYER_NORM) for _ in range(size.depth))
        )
        self.norm = LAYER_NORM(size.width)
        initialize(self, size.initial_std)
        if isinstance(self.patch_embed, Convolutions):
            self.patch_embed.initialize()
        nn.init.trunc_normal_(self.class_token, std=0.02)
        if positions == "learned":
            nn.init.trunc_normal_(self.positions, std=0.02)
        elif isinstance(self.patch_embed, PatchEmbed):
            # As in the masked autoencoder: fixed positions are large, and would drown the pixels otherwise.
            nn.init.xavier_uniform_(self.patch_embed.proj.weight.view(size.width, -1))
        # Made last: the pooling keeps torch's own initial weights, as in the reference.
        self.pooling: GatedAttentionPooling | MeanPooling = (
            GatedAttentionPooling(size.width, gate_dim=size.pool_dim, heads=size.pool_heads)
            if pooling
            else MeanPooling(size.width)
        )

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self.pooling.dim

    def forward(
        self, images: torch.Tensor, keep: torch.Tensor | None = None, *, class_attention: bool = False
    ) -> Encoded:
        """Encode images.

        Parameters
        ----------
        images : (N, in_channels, H, W) float, scaled as `subcell.model.network.inputs.mask_and_scale` does; H and W are
            multiples of the patch. Positions are interpolated where they differ from the training's.
        keep : (N, K) numbers of the patches that the transformer sees, row by row; None shows all
        class_attention : also give the attention of the class token in the last block
        """
        rows, columns = (side // self.patch for side in images.shape[-2:])
        positions = self._positions(rows, columns)
        if keep is not None and isinstance(self.patch_embed, Convolutions):
            images = self.patch_embed.hide(images, keep)
        tokens = self.patch_embed(images) + positions[:, 1:]
        if keep is not None:
            tokens = tokens.gather(1, keep[..., None].expand(-1, -1, tokens.shape[-1]))
        first = (self.class_token + positions[:, :1]).expand(len(tokens), -1, -1)
        tokens = torch.cat((first, tokens), dim=1)
        looks = None
        if self.checkpointing and torch.is_grad_enabled():
            tokens = checkpoint_seq(self.blocks, tokens, use_reentrant=False)
        elif class_attention:
            tokens = self.blocks[:-1](tokens)
            looks = attention_of_class_token(self.blocks[-1], tokens)
            tokens = self.blocks[-1](tokens)
        else:
            tokens = self.blocks(tokens)
        tokens = self.norm(tokens)
        vector, attention = self.pooling(tokens)
        return Encoded(vector, tokens, attention, looks)

    def _positions(self, rows: int, columns: int) -> torch.Tensor:
        if (rows, columns) == (self.side, self.side):
            return self.positions
        return resample_abs_pos_embed(self.positions, [rows, columns], old_size=[self.side, self.side], antialias=False)


class Convolutions(nn.Module):
    """Tokens from a few convolutions of stride 2 instead of one linear layer a patch (Xiao et al. 2021, arXiv 2106.14881).

    A small network on few cells learns textures faster so. Not the paper's: its tokens come from one linear layer. Values are
    normalised over a whole image: normalised pixel by pixel, dark and bright places look alike and losses stay at chance.

    Parameters
    ----------
    size : `stem` are the channels of all convolutions but the last, which gives the tokens; together they shrink an image by
        `patch`
    in_channels : image channels
    """

    def __init__(self, size: Size, in_channels: int) -> None:
        super().__init__()
        self.patch = size.patch
        channels = (*size.stem, size.width)
        self.layers = ConvStem(
            in_channels,
            len(channels),
            channels,
            stride=(2,) * len(channels),
            norm_layer=GroupNorm1,
            act_layer=nn.GELU,
        )

    def initialize(self) -> None:
        """Initial weights of convolutions: as much signal behind each as in front of it."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")

    def hide(self, images: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Images in which all patches but these are zero, since convolutions look beyond a patch.

        Parameters
        ----------
        images : (N, C, H, W)
        keep : (N, K) numbers of patches, row by row
        """
        rows, columns = (side // self.patch for side in images.shape[-2:])
        seen = images.new_zeros(len(images), rows * columns).scatter(1, keep, 1.0)
        seen = seen.view(-1, 1, rows, columns)
        return images * seen.repeat_interleave(self.patch, 2).repeat_interleave(self.patch, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens (N, T, width) of images (N, C, H, W), row by row."""
        return self.layers(images).flatten(2).transpose(1, 2)


def build_encoder(
    *,
    size: str | Size,
    in_channels: int = 4,
    image_px: int,
    positions: Positions = "learned",
    pooling: bool = True,
    seed: int,
) -> Encoder:
    """Make an untrained encoder; the same arguments give the same weights.

    Parameters
    ----------
    size : `tiny`, `small` or `base`, or the numbers themselves
    in_channels : image channels; 4 are microtubules, ER, nucleus, protein
    image_px : side of the images
    positions : `learned` (the paper's ViT recipes) or `sincos` (fixed 2-D sine and cosine, its MAE recipes)
    pooling : gated attention over all tokens, else their mean
    seed : of the weights

    Raises
    ------
    ConfigError : an unknown size, or images that are not a whole number of patches
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(
            size=size_named(size) if isinstance(size, str) else size,
            in_channels=in_channels,
            image_px=image_px,
            positions=positions,
            pooling=pooling,
        )


def block_shapes(width: int, depth: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of timm's transformer blocks, by name."""
    layers = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    block: dict[str, tuple[int, ...]] = {f"{norm}.{part}": (width,) for norm in ("norm1", "norm2") for part in PARTS}
    for name, (out, taken) in layers.items():
        block |= {f"{name}.weight": (out * width, taken * width), f"{name}.bias": (out * width,)}
    return {f"blocks.{number}.{name}": shape for number in range(depth) for name, shape in block.items()}


def encoder_shapes(size: Size, *, in_channels: int, image_px: int, pooling: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights of an `Encoder`, without making one.

    A file's own words about its network are compared with these before anything is built from them.
    """
    width, tokens = size.width, 1 + patches_a_side(image_px, size.patch) ** 2
    gates = ("attention_v.1", "attention_u.1") if pooling else ()
    return {
        "class_token": (1, 1, width),
        "positions": (1, tokens, width),
        **_patch_shapes(size, in_channels),
        **block_shapes(width, size.depth),
        **{f"norm.{part}": (width,) for part in PARTS},
        **{f"pooling.{gate}.weight": (size.pool_dim, width) for gate in gates},
        **{f"pooling.{gate}.bias": (size.pool_dim,) for gate in gates},
        **({"pooling.attention.weight": (size.pool_heads, size.pool_dim)} if pooling else {}),
        **({"pooling.attention.bias": (size.pool_heads,)} if pooling else {}),
    }


def _patch_shapes(size: Size, in_channels: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights that make tokens of pixels."""
    if not size.stem:
        return {
            "patch_embed.proj.weight": (size.width, in_channels, size.patch, size.patch),
            "patch_embed.proj.bias": (size.width,),
        }
    channels = (in_channels, *size.stem, size.width)
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (given, made) in enumerate(pairwise(channels)):
        layer = f"patch_embed.layers.{number}"
        shapes[f"{layer}.conv.weight"] = (made, given, 3, 3)
        # The last convolution makes tokens: it has a bias, and no normalisation behind it.
        normed = number < len(size.stem)
        shapes |= {f"{layer}.bn.{part}": (made,) for part in PARTS} if normed else {f"{layer}.conv.bias": (made,)}
    return shapes


def attention_of_class_token(block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """How the first token of a block looks at all tokens.

    Only this one row of the attention is computed, beside the block itself, which keeps its fused attention.

    Parameters
    ----------
    block : timm's block of a vision transformer
    tokens : (N, T, C), what goes into the block

    Returns
    -------
    (N, heads, T) float32, sums to 1 over the tokens
    """
    layer: Any = block.attn
    width = tokens.shape[-1]
    normed: torch.Tensor = block.norm1(tokens)  # type: ignore[operator]
    weight, bias = layer.qkv.weight, layer.qkv.bias
    query = nn.functional.linear(normed[:, :1], weight[:width], None if bias is None else bias[:width])
    key = nn.functional.linear(normed, weight[width : 2 * width], None if bias is None else bias[width : 2 * width])
    query, key = (part.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2) for part in (query, key))
    query, key = layer.q_norm(query), layer.k_norm(key)
    scores = (query.float() * layer.scale) @ key.float().transpose(-2, -1)
    return scores.squeeze(2).softmax(dim=-1)


def initialize(module: nn.Module, std: float) -> None:
    """Initial weights of all layers of a transformer, as in the reference: normal, cut at two deviations; no bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def sincos_positions(side: int, width: int) -> torch.Tensor:
    """Fixed positions of a square of patches, as in the masked autoencoder (He et al. 2021, arXiv 2111.06377).

    Returns
    -------
    (side * side, width) float32; the first half of each row tells the column, the second half the row
    """
    frequency = 1 / 10_000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(side, dtype=torch.float64)[:, None] * frequency
    one_axis = torch.cat((angle.sin(), angle.cos()), dim=1)
    columns = one_axis[None].expand(side, -1, -1)
    rows = one_axis[:, None].expand(-1, side, -1)
    return torch.cat((columns, rows), dim=-1).flatten(0, 1).float()
