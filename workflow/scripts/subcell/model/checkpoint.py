"""Trained weights in one safetensors file that says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from subcell.errors import CheckpointError, ConfigError
from subcell.model.encoder import Encoder
from subcell.model.sizes import Size
from subcell.replacing import replacing

FORMAT = "subcell-encoder-1"
NEEDED = ("architecture", "in_channels", "image_px", "positions", "pooling")
"""Without these no network can be built."""


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
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; train the model first or correct `checkpoint`") from None
    except (SafetensorError, OSError) as problem:
        raise CheckpointError(f"{path}: not a whole safetensors file ({problem}); fetch or train it again") from None
    config = _config_of(metadata, path)
    try:
        encoder = Encoder(
            size=Size(**config["architecture"]),
            in_channels=config["in_channels"],
            image_px=config["image_px"],
            positions=config["positions"],
            pooling=config["pooling"],
        )
    except (TypeError, ValueError, ConfigError) as problem:
        raise CheckpointError(f"{path}: its configuration describes no network ({problem})") from None
    _require_fit(encoder.state_dict(), weights, path)
    encoder.load_state_dict(weights, strict=True)
    return encoder.eval(), config


def _config_of(metadata: Mapping[str, str], path: str | Path) -> dict[str, Any]:
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError):
        raise CheckpointError(
            f"{path}: the file does not say which network it holds (no readable `config` in its metadata); expected a "
            "checkpoint of this workflow"
        ) from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected a file of format {FORMAT!r}; train the model again with this version")
    _require(config, NEEDED, path)
    return config


def _require(config: Mapping[str, Any], keys: tuple[str, ...], path: str | Path) -> None:
    missing = [key for key in keys if key not in config]
    if missing:
        raise CheckpointError(f"{path}: the configuration of the network lacks {', '.join(missing)}")


def _require_fit(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], path: str | Path) -> None:
    missing = sorted(set(expected) - set(found))
    surplus = sorted(set(found) - set(expected))
    shaped = [name for name in expected if name in found and expected[name].shape != found[name].shape]
    if missing or surplus or shaped:
        problems = [
            *(f"{len(missing)} weights are missing, such as {name!r}" for name in missing[:1]),
            *(f"{len(surplus)} weights are not of this network, such as {name!r}" for name in surplus[:1]),
            *(
                f"{len(shaped)} weights have another shape, such as {name!r}: {tuple(found[name].shape)} instead of "
                f"{tuple(expected[name].shape)}"
                for name in shaped[:1]
            ),
        ]
        raise CheckpointError(f"{path}: weights do not fit the network that the file describes: {'; '.join(problems)}")
