"""SubCell's released weights: PyTorch files whose names are those of Hugging Face's ViT (transformers 4.45)."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from subcell.errors import CheckpointError
from subcell.model.network.encoder import Encoder, sincos_positions
from subcell.model.network.sizes import SIZES, Size
from subcell.model.weights.checkpoint import misfits

HEAD_WIDTH = 64
"""Width of an attention head in every ViT of the released kind; the file itself does not tell the number of heads."""

WHOLE_NAMES = {
    "encoder.embeddings.cls_token": "class_token",
    "encoder.embeddings.position_embeddings": "positions",
    "encoder.embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "encoder.embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "encoder.layernorm.weight": "norm.weight",
    "encoder.layernorm.bias": "norm.bias",
    "pool_model.attention.weight": "pooling.attention.weight",
    "pool_model.attention.bias": "pooling.attention.bias",
}
LAYER_NAMES = {
    "layernorm_before": "norm1",
    "attention.output.dense": "attn.proj",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
PROJECTIONS = ("query", "key", "value")
"""Three layers there, one after the other in one layer here."""

LAYER = re.compile(r"encoder\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias)")
# Without dropout in front, as SubCellPortable builds it, the linear layer of a gate is number 0.
GATE = re.compile(r"pool_model\.attention_([uv])\.[01]\.(weight|bias)")

MOST_SHARED = 4
"""How many times the weights of a file may stand for the same numbers."""

HEAD_LAYERS = ("0", "3", "6")
"""Linear layers of a released location classifier: ReLU and dropout stand in between."""


def load_released(path: str | Path) -> tuple[Encoder, dict[str, Any]]:
    """Read a released SubCell network, every weight of it.

    Parameters
    ----------
    path : `.pth` file with `encoder.*` (Hugging Face's ViT) and, for variants with pooling, `pool_model.*`

    Returns
    -------
    encoder : ready to embed; positions are interpolated (bicubic) where crops are not of the side it was trained with
    config : in_channels, image_px, positions (`sincos` or `learned`) and pooling, as `load_encoder` gives them

    Raises
    ------
    CheckpointError : the file is missing or damaged, a weight is missing, has another shape, or is not used
    """
    found = read_weights(path)
    weights, leftover = _renamed(found)
    if leftover:
        raise CheckpointError(
            f"{path}: {len(leftover)} weights have no place in SubCell's network, such as {leftover[0]!r}; is it another model?"
        )
    try:
        size, config = _network_of(weights)
    except (KeyError, ValueError, IndexError, TypeError) as problem:
        raise CheckpointError(f"{path}: not a released SubCell network, it lacks {problem}") from None
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    given = {key: config[key] for key in ("in_channels", "image_px", "pooling")}
    if problems := misfits(size, shapes, **given):
        raise CheckpointError(f"{path}: not a whole SubCell network: {'; '.join(problems)}")
    config["positions"] = _kind_of_positions(weights["positions"], config["image_px"] // size.patch)
    encoder = Encoder(size=size, **config)
    encoder.load_state_dict(weights, strict=True)
    return encoder.eval(), config


def read_weights(path: str | Path, *, allowed: Sequence[Any] = ()) -> dict[str, torch.Tensor]:
    """Read the weights of a PyTorch file without running code that the file may hold.

    A wrapping `state_dict` and the prefix `module.` of parallel training are taken off.

    Parameters
    ----------
    allowed : classes besides tensors that the file may name

    Raises
    ------
    CheckpointError : missing, damaged, or with anything but weights in it
    """
    content = read_pickle(path, allowed=allowed)
    content = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: expected a table of weights; it holds something else")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def read_pickle(path: str | Path, *, allowed: Sequence[Any] = ()) -> Any:
    """What a PyTorch file holds; see `read_weights`."""
    try:
        return plain_content(path, allowed=allowed)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file of weights; fetch it first") from None
    except MemoryError:
        raise
    except Exception as problem:  # each kind of broken bytes has an error of its own
        reason = str(problem).strip().splitlines()[0][:200] if str(problem).strip() else type(problem).__name__
        raise CheckpointError(
            f"{path}: not a whole PyTorch file of plain weights ({reason}); delete it and fetch it again"
        ) from None


def plain_content(path: str | Path, *, allowed: Sequence[Any] = ()) -> Any:
    """What a PyTorch file holds, tensors with all of their numbers; each kind of broken file has an error of its own."""
    _require_stored(path)
    with torch.serialization.safe_globals(list(allowed)):
        content = torch.load(path, map_location="cpu", weights_only=True)
    _require_whole(content)
    return content


def _require_stored(path: str | Path) -> None:
    """PyTorch compresses nothing; a file that does may be far larger when it is unpacked."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("its content is compressed, which PyTorch does not do")


def _require_whole(content: Any) -> None:
    """Tensors may claim more numbers than they have: one number can stand for a million."""
    claimed, stored = 0, {}
    todo, seen = [content], set()
    while todo:
        value = todo.pop()
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
                raise ValueError("it holds a tensor that is no plain table of numbers")
            claimed += value.numel() * value.element_size()
            stored[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            todo.extend(value.values() if isinstance(value, Mapping) else value)
    # Some files name the same weights two or three times.
    if claimed > MOST_SHARED * sum(stored.values()):
        raise ValueError(f"its tensors claim {claimed:,} bytes and have {sum(stored.values()):,}")


def _renamed(found: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Weights under our names, and the names that none of ours stands for."""
    weights: dict[str, torch.Tensor] = {}
    projections: dict[str, dict[str, torch.Tensor]] = {}
    leftover = []
    for name, value in found.items():
        layer, gate = LAYER.fullmatch(name), GATE.fullmatch(name)
        if name in WHOLE_NAMES:
            weights[WHOLE_NAMES[name]] = value
        elif gate:
            weights[f"pooling.attention_{gate[1]}.1.{gate[2]}"] = value
        elif layer and layer[2] in LAYER_NAMES:
            weights[f"blocks.{layer[1]}.{LAYER_NAMES[layer[2]]}.{layer[3]}"] = value
        elif layer and layer[2].removeprefix("attention.attention.") in PROJECTIONS:
            joined = f"blocks.{layer[1]}.attn.qkv.{layer[3]}"
            projections.setdefault(joined, {})[layer[2].rpartition(".")[2]] = value
        else:
            leftover.append(name)
    for joined, parts in projections.items():
        # Others are missed where all weights are compared with the network.
        shapes = {part.shape for part in parts.values()}
        if set(parts) == set(PROJECTIONS) and len(shapes) == 1 and len(shapes.pop()):
            weights[joined] = torch.cat([parts[part] for part in PROJECTIONS])
    return weights, leftover


def _network_of(weights: Mapping[str, torch.Tensor]) -> tuple[Size, dict[str, Any]]:
    """What these weights say of their network, but for the kind of positions; KeyError where one that tells it is missing."""
    width, in_channels, patch, _ = weights["patch_embed.proj.weight"].shape
    side = round((weights["positions"].shape[1] - 1) ** 0.5)
    depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    gates = weights.get("pooling.attention_v.1.weight")
    base = SIZES["base"]
    size = replace(
        base,
        width=width,
        depth=depth,
        heads=max(1, width // HEAD_WIDTH),
        patch=patch,
        pool_dim=base.pool_dim if gates is None else gates.shape[0],
        pool_heads=base.pool_heads if gates is None else weights["pooling.attention.weight"].shape[0],
    )
    if min(width, in_channels, patch, side) < 1 or width % size.heads:
        raise ValueError(f"positions and a width of a vision transformer ({width} with {size.heads} heads)")
    return size, {"in_channels": in_channels, "image_px": side * patch, "pooling": gates is not None}


def _kind_of_positions(positions: torch.Tensor, side: int) -> str:
    """`sincos` where they are fixed ones, which only a width of fours has, else `learned`."""
    width = positions.shape[-1]
    fixed = width % 4 == 0 and torch.allclose(positions[0, 1:].float(), sincos_positions(side, width), atol=1e-5)
    return "sincos" if fixed else "learned"


class LocationHeads(nn.Module):
    """Location classifiers on a vector, one MLP a seed: Linear-ReLU-Linear-ReLU-Linear, a sigmoid a class.

    Parameters
    ----------
    states : of each seed, the weights `0.*`, `3.*` and `6.*` as SubCell releases them (dropout has none)
    """

    def __init__(self, states: Sequence[Mapping[str, torch.Tensor]]) -> None:
        super().__init__()
        for number, layer in enumerate(HEAD_LAYERS):
            weight = torch.stack([state[f"{layer}.weight"].float().mT for state in states])
            bias = torch.stack([state[f"{layer}.bias"].float()[None] for state in states])
            self.register_buffer(f"weight_{number}", weight)
            self.register_buffer(f"bias_{number}", bias)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.get_buffer("bias_2").shape[-1]

    @property
    def dim(self) -> int:
        """Numbers in the vectors that it takes."""
        return self.get_buffer("weight_0").shape[-2]

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Probabilities (heads, N, classes) of vectors (N, dim), in float32."""
        layers = [(self.get_buffer(f"weight_{n}"), self.get_buffer(f"bias_{n}")) for n in range(len(HEAD_LAYERS))]
        with torch.autocast(vectors.device.type, enabled=False):
            values = vectors.float()[None]
            for weight, bias in layers[:-1]:
                values = (values @ weight + bias).relu()
            weight, bias = layers[-1]
            return (values @ weight + bias).sigmoid()


def load_location_heads(paths: Sequence[str | Path]) -> LocationHeads:
    """Read location classifiers, every weight of them.

    Parameters
    ----------
    paths : `.pth` files, one a seed

    Raises
    ------
    CheckpointError : a file is missing, damaged, or no such classifier, or they do not fit each other
    """
    states: list[dict[str, torch.Tensor]] = []
    for path in paths:
        state = read_weights(path)
        expected = {f"{layer}.{part}" for layer in HEAD_LAYERS for part in ("weight", "bias")}
        if set(state) != expected:
            raise CheckpointError(
                f"{path}: not a location classifier: expected the weights {', '.join(sorted(expected))}, found "
                f"{', '.join(sorted(state)[:8]) or 'none'}"
            )
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        if states and shapes != {name: tuple(value.shape) for name, value in states[0].items()}:
            raise CheckpointError(f"{path}: its weights have other shapes than those of {paths[0]}")
        states.append(state)
    if not states:
        raise CheckpointError("no location classifiers given")
    try:
        return LocationHeads(states)
    except RuntimeError as problem:
        raise CheckpointError(f"{paths[0]}: not a location classifier ({problem})") from None
