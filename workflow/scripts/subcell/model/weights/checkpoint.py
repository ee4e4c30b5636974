"""Trained weights in one safetensors file that says what they are."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from subcell.channels import CHANNELS
from subcell.errors import CheckpointError, ConfigError
from subcell.model.network.encoder import Encoder, encoder_shapes
from subcell.model.network.sizes import Size, patches_a_side
from subcell.replacing import replacing

SCALE_TOLERANCE = 0.05
"""By how much pixel sizes may differ from a network's own: those of microscopes are known to a few per cent."""
FORMAT = "subcell-encoder-1"
NEEDED = ("architecture", "in_channels", "image_px", "positions", "pooling")
"""Without these no network can be built."""
NUMBERS = ("width", "depth", "heads", "patch", "pool_dim", "pool_heads")
"""What the weights of an encoder depend on, of its `Size`."""


def save_checkpoint(path: str | Path, encoder: Encoder, config: Mapping[str, Any], *, size: Size) -> None:
    """Write an encoder with its configuration.

    Parameters
    ----------
    path : safetensors file; its folder is made
    encoder : with its pooling
    config : plain values that go into the file's metadata as JSON; `in_channels`, `image_px`, `positions` and
        `pooling` are needed to build the network again
    size : numbers of the network, kept as `architecture`, so that a change of the presets breaks no file

    Raises
    ------
    CheckpointError : the configuration does not describe a network
    """
    described = {"format": FORMAT, "architecture": asdict(size), **config}
    _require(described, NEEDED, path)
    weights = {name: weight.detach().cpu().contiguous() for name, weight in encoder.state_dict().items()}
    # save_file would make a file that only its owner may read, whatever the umask.
    with replacing(path) as to:
        to.write_bytes(save(weights, metadata={"config": json.dumps(described, sort_keys=True)}))


def read_description(path: str | Path) -> dict[str, Any]:
    """What a checkpoint says of itself, without its weights.

    Raises
    ------
    CheckpointError : the file is missing, damaged, or of another program
    """
    try:
        with safe_open(path, framework="pt") as file:
            return _config_of(file.metadata() or {}, path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; train the model first or correct its path") from None
    except (SafetensorError, OSError, ValueError) as problem:
        raise CheckpointError(f"{path}: not a whole safetensors file ({problem}); fetch or train it again") from None


def names_seen(config: Mapping[str, Any]) -> dict[str, set[str]] | None:
    """Antibodies and genes that a network has learned from, also the one that it started from; None where it is not said."""
    seen = config.get("seen")
    before = config.get("start")
    if not isinstance(seen, dict):
        return None
    earlier = names_seen(before) if isinstance(before, dict) else {}
    if earlier is None:
        return None
    return {kind: set(seen.get(kind, [])) | earlier.get(kind, set()) for kind in ("antibody", "gene")}


def load_encoder(path: str | Path) -> tuple[Encoder, dict[str, Any]]:
    """Read an encoder, every weight of it.

    Parameters
    ----------
    path : file that `save_checkpoint` wrote

    Returns
    -------
    encoder : ready to embed
    config : as it was saved

    Raises
    ------
    CheckpointError : the file is missing, damaged, of another program, or its weights do not fit its configuration
    """
    try:
        with safe_open(path, framework="pt") as file:
            config = _config_of(file.metadata() or {}, path)
            size = _size_of(config, path)
            names = list(file.keys())
            parts = {name: file.get_slice(name) for name in names}
            _require_fit(size, config, {name: tuple(part.get_shape()) for name, part in parts.items()}, path)
            whole = [name for name, part in parts.items() if not part.get_dtype().startswith(("F", "BF"))]
            if whole:
                raise CheckpointError(f"{path}: the weights {whole[0]!r} are no fractions; train the model again")
            weights = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; train the model first or correct `checkpoint`") from None
    except (SafetensorError, OSError, ValueError) as problem:
        raise CheckpointError(f"{path}: not a whole safetensors file ({problem}); fetch or train it again") from None
    encoder = Encoder(size=size, **{key: config[key] for key in ("in_channels", "image_px", "positions", "pooling")})
    encoder.load_state_dict(weights, strict=True)
    return encoder.eval(), config


def _config_of(metadata: Mapping[str, str], path: str | Path) -> dict[str, Any]:
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError):
        raise CheckpointError(
            f"{path}: the file does not say which network it holds (no readable `config` in its metadata); expected a "
            "checkpoint of this workflow"
        ) from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected a file of format {FORMAT!r}; train the model again with this version")
    _require(config, NEEDED, path)
    return config


def _size_of(config: Mapping[str, Any], path: str | Path) -> Size:
    """The numbers that a file gives of its network, of which each can be one."""
    about = config["architecture"] if isinstance(config["architecture"], dict) else {}
    about = {"pool_heads": Size.pool_heads, **about}
    numbers = {name: about.get(name) for name in NUMBERS} | {key: config[key] for key in ("in_channels", "image_px")}
    stem = about.get("stem", [])
    numbers |= (
        {f"stem[{place}]": channels for place, channels in enumerate(stem)}
        if isinstance(stem, list)
        else {"stem": stem}
    )
    wrong = [f"{name} is {reprlib.repr(value)}" for name, value in numbers.items() if not _counts(value)]
    if config["positions"] not in ("learned", "sincos"):
        wrong.append(f"positions is {reprlib.repr(config['positions'])}")
    if not isinstance(config["pooling"], bool):
        wrong.append(f"pooling is {reprlib.repr(config['pooling'])}")
    um_per_px, channels = config.get("um_per_px", 1.0), config.get("channels") or []
    if isinstance(um_per_px, bool) or not isinstance(um_per_px, int | float) or not 0 < um_per_px < math.inf:
        wrong.append(f"um_per_px is {reprlib.repr(um_per_px)}")
    if not isinstance(channels, list) or any(channel not in CHANNELS for channel in channels):
        wrong.append(f"channels is {reprlib.repr(channels)}")
    if not wrong and about["width"] % about["heads"]:
        wrong.append(f"width {about['width']} is no multiple of its {about['heads']} heads")
    if not wrong and config["positions"] == "sincos" and about["width"] % 4:
        wrong.append(f"width {about['width']} is no multiple of 4, as fixed positions need it")
    try:
        if not wrong:
            patches_a_side(config["image_px"], about["patch"])
            return Size(**about)
    except (TypeError, ConfigError) as problem:
        wrong.append(str(problem))
    raise CheckpointError(f"{path}: its configuration describes no network ({'; '.join(wrong)}); train the model again")


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _require(config: Mapping[str, Any], keys: tuple[str, ...], path: str | Path) -> None:
    missing = [key for key in keys if key not in config]
    if missing:
        raise CheckpointError(f"{path}: the configuration of the network lacks {', '.join(missing)}")


def _require_fit(size: Size, config: Mapping[str, Any], found: Mapping[str, tuple[int, ...]], path: str | Path) -> None:
    """Compare the shapes in a file with those of the network that it describes, before that is built."""
    described = {key: config[key] for key in ("in_channels", "image_px", "pooling")}
    problems = misfits(size, found, **described)
    if problems:
        raise CheckpointError(f"{path}: weights do not fit the network that the file describes: {'; '.join(problems)}")


def misfits(
    size: Size, found: Mapping[str, tuple[int, ...]], *, in_channels: int, image_px: int, pooling: bool
) -> list[str]:
    """What is wrong with weights of these names and shapes for an encoder of that description; nothing where they fit."""
    if size.depth > len(found):
        return [f"{size.depth:,} blocks, but {len(found)} weights"]
    return differences(encoder_shapes(size, in_channels=in_channels, image_px=image_px, pooling=pooling), found)


def differences(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is wrong with weights of these names and shapes; nothing where they are those that are expected."""
    missing = sorted(set(expected) - set(found))
    surplus = sorted(set(found) - set(expected))
    shaped = [name for name in expected if name in found and expected[name] != found[name]]
    return [
        *(f"{len(missing)} weights are missing, such as {name!r}" for name in missing[:1]),
        *(f"{len(surplus)} weights are not of this network, such as {name!r}" for name in surplus[:1]),
        *(
            f"{len(shaped)} weights have another shape, such as {name!r}: {found[name]} instead of {expected[name]}"
            for name in shaped[:1]
        ),
    ]
