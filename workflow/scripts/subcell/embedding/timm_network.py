"""Any network of timm, and DINO4Cells, whose vision transformer has timm's names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import resolve_data_config
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from subcell.channels import CHANNELS
from subcell.embedding.network import Seen
from subcell.errors import CheckpointError, ConfigError
from subcell.model.network.encoder import attention_of_class_token, block_shapes
from subcell.model.weights.checkpoint import differences
from subcell.model.weights.released import HEAD_WIDTH, read_pickle, read_weights

DINO4CELLS_CHANNELS = ("microtubules", "protein", "nucleus", "er")
"""Red, green, blue, yellow."""

DINO4CELLS_MEAN = (0.1450534, 0.11360057, 0.1231717, 0.14919987)
DINO4CELLS_STD = (0.18122554, 0.14004277, 0.18840286, 0.17790672)

PROJECTION_HEAD = re.compile(r"head\.(mlp|last_layer)\..+")
"""What self-distillation puts on the network while training; it has no part in a vector."""

Mapping = Literal["repeat", "average", "each"]


class TimmNetwork(nn.Module):
    """A network of timm without its classifier.

    Parameters
    ----------
    model : gives (N, D) when called
    channels : `repeat` hands over all channels (timm repeats the weights of the first layer), `average` the mean of the
        channels as three colours, `each` every channel alone as three colours, their vectors side by side
    """

    classes: Sequence[str] = ()

    def __init__(self, model: nn.Module, *, channels: Mapping = "repeat") -> None:
        super().__init__()
        self.model = model
        self.channels = channels
        self.dim = int(model.num_features) * (len(CHANNELS) if channels == "each" else 1)  # type: ignore[arg-type]
        self._last = _last_block(model)
        self.has_attention = self._last is not None and channels != "each"

    def forward(self, images: torch.Tensor, *, attention: bool) -> Seen:
        """See `subcell.embedding.network.Network`."""
        if self.channels == "average":
            images = images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        elif self.channels == "each":
            alone = images.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
            return Seen(self.model(alone).unflatten(0, (len(images), -1)).flatten(1))
        if not attention or self._last is None:
            return Seen(self.model(images))
        found: list[torch.Tensor] = []
        hook = self._last.register_forward_pre_hook(
            lambda block, inputs: found.append(attention_of_class_token(block, inputs[0]))
        )
        try:
            vector = self.model(images)
        finally:
            hook.remove()
        prefix: int = self.model.num_prefix_tokens  # type: ignore[assignment]
        return Seen(vector, class_attention=found[0][..., prefix:])


def _last_block(model: nn.Module) -> nn.Module | None:
    """The last block of a plain vision transformer with a class token; None for other networks."""
    block = model.blocks[-1] if isinstance(model, VisionTransformer) else None
    known = block is not None and hasattr(block, "norm1") and hasattr(getattr(block, "attn", None), "qkv")
    return block if known and hasattr(model, "num_prefix_tokens") and model.num_prefix_tokens else None


def any_network(
    architecture: str,
    *,
    channels: Mapping,
    image_px: int,
    pretrained: bool,
    checkpoint: str | Path | None,
    seed: int,
) -> tuple[TimmNetwork, dict[str, Any]]:
    """Make a network of timm.

    Parameters
    ----------
    architecture : timm's name, e.g. `resnet50.a1_in1k` or `vit_small_patch16_224`
    channels : see `TimmNetwork`
    image_px : side of the images that it gets; a multiple of its patch where it has patches
    pretrained : fetch timm's weights of that name (needs the network)
    checkpoint : safetensors or PyTorch file with weights under timm's names; a classifier in it is left out
    seed : of the weights where they come from nowhere

    Returns
    -------
    network, and its `Inputs` besides channels and mask

    Raises
    ------
    ConfigError : timm knows no such network, or not at this size
    CheckpointError : the file does not fit it
    """
    colours = len(CHANNELS) if channels == "repeat" else 3
    name = architecture.partition(".")[0]
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        raise ConfigError(f"timm has no network {name!r}; such as {', '.join(close) or 'timm.list_models() names'}")
    flexible: dict[str, Any] = {"img_size": image_px} if "vit" in name or "swin" in name or "deit" in name else {}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = timm.create_model(
                architecture, pretrained=pretrained, in_chans=colours, num_classes=0, **flexible
            ).eval()
    except (RuntimeError, AssertionError, TypeError, ValueError) as problem:
        raise ConfigError(f"timm's network {architecture!r} cannot be made for {image_px} px ({problem})") from None
    if checkpoint:
        _load(model, checkpoint)
    data = resolve_data_config({}, model=model)
    if channels == "repeat":
        mean, std = ((sum(data[key]) / len(data[key]),) * colours for key in ("mean", "std"))
    else:
        # The mean of all channels becomes each of three colours, so that one mean and deviation serve.
        mean, std = ((sum(data[key]) / len(data[key]),) * len(CHANNELS) for key in ("mean", "std"))
    return TimmNetwork(model, channels=channels), {"pixels": image_px, "mean": mean, "std": std}


def _load(model: nn.Module, path: str | Path) -> None:
    """Load weights under timm's names, all of them but a classifier's."""
    if Path(path).suffix == ".safetensors":
        try:
            weights = load_file(path)
        except (OSError, ValueError, SafetensorError) as problem:
            raise CheckpointError(f"{path}: not a whole safetensors file ({problem})") from None
    else:
        weights = read_weights(path)
    classifiers = model.pretrained_cfg.get("classifier", "")  # type: ignore[operator, union-attr]
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    prefixes = tuple(f"{name}." for name in names if name)
    weights = {name: value for name, value in weights.items() if not (prefixes and name.startswith(prefixes))}
    load_all(model, weights, path)


def dino4cells(path: str | Path, *, image_px: int) -> tuple[TimmNetwork, dict[str, Any]]:
    """Read a checkpoint of DINO4Cells (Doron et al. 2023): the teacher, every weight of its vision transformer.

    Parameters
    ----------
    path : PyTorch file with `teacher`, or the weights of the transformer alone
    image_px : side of the crops; positions are interpolated as that code does it

    Returns
    -------
    network, and its `Inputs` besides channels and mask

    Raises
    ------
    CheckpointError : missing, damaged, or not all of its weights are those of the transformer
    """
    # Training's arguments are kept in the file as a bare namespace.
    content = read_pickle(path, allowed=[argparse.Namespace])
    teacher = content.get("teacher", content) if isinstance(content, dict) else {}
    weights = {
        str(name).removeprefix("module.").removeprefix("backbone."): value
        for name, value in teacher.items()
        if isinstance(value, torch.Tensor)
    }
    weights = {name: value for name, value in weights.items() if not PROJECTION_HEAD.fullmatch(name)}
    try:
        width, colours, patch, _ = weights["patch_embed.proj.weight"].shape
        depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
        positions = weights["pos_embed"]
        trained = round((positions.shape[1] - 1) ** 0.5)
        if min(width, patch, trained) < 1 or depth > len(weights) or width % max(1, width // HEAD_WIDTH):
            raise ValueError("no transformer has these numbers")
    except (KeyError, ValueError, IndexError, TypeError):
        raise CheckpointError(f"{path}: not a checkpoint of DINO4Cells: it holds no vision transformer") from None
    if colours != len(DINO4CELLS_CHANNELS):
        raise CheckpointError(f"{path}: takes {colours} channels; expected {', '.join(DINO4CELLS_CHANNELS)}")
    if image_px % patch:
        raise CheckpointError(
            f"{path}: crops of {image_px} px are no whole number of its patches of {patch} px; set `crops.pixels`"
        )
    expected: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + trained**2, width),
        "patch_embed.proj.weight": (width, colours, patch, patch),
        "patch_embed.proj.bias": (width,),
        **block_shapes(width, depth),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    if problems := differences(expected, {name: tuple(value.shape) for name, value in weights.items()}):
        raise CheckpointError(f"{path}: its weights do not fit the network: {'; '.join(problems)}")
    weights["pos_embed"] = _interpolated(positions, image_px // patch)
    model = VisionTransformer(
        img_size=image_px,
        patch_size=patch,
        in_chans=colours,
        num_classes=0,
        global_pool="token",
        embed_dim=width,
        depth=depth,
        num_heads=max(1, width // HEAD_WIDTH),
    ).eval()
    load_all(model, weights, path)
    return TimmNetwork(model), {"mean": DINO4CELLS_MEAN, "std": DINO4CELLS_STD}


def _interpolated(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Positions (1, 1 + patches, C) for `side` x `side` patches by DINO's recipe: bicubic, the scale a tenth patch larger."""
    trained = round((positions.shape[1] - 1) ** 0.5)
    if trained == side:
        return positions
    grid = positions[:, 1:].unflatten(1, (trained, trained)).permute(0, 3, 1, 2)
    scale = (side + 0.1) / trained
    grid = nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat((positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)


def load_all(model: nn.Module, weights: dict[str, torch.Tensor], path: str | Path) -> None:
    """Load weights into a network; none may be missing, left or of another shape.

    Raises
    ------
    CheckpointError : names the first that is
    """
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as problem:
        first = " ".join(str(problem).splitlines()[1].split())[:300]
        raise CheckpointError(f"{path}: its weights do not fit the network: {first}") from None
