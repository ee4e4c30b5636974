"""The compact network: a small U-Net that predicts what Cellpose's networks predict, and its weights file."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.encoders import get_encoder
from torch import nn
from torch.nn import functional

from subcell.errors import CheckpointError
from subcell.replacing import replacing

FORMAT = "subcell compact segmentation 1"
"""Stands in the weights file; another number would mean other inputs or outputs."""

INPUTS = {"nuclei": ("nucleus",), "cells": ("microtubules", "er", "nucleus")}
"""Channels that each network sees, in order."""

SIZE_MULTIPLE_PX = 32
"""The encoder halves its input five times."""


class CompactNet(nn.Module):
    """U-Net that `cellpose.core.run_net` takes for one of Cellpose's own networks.

    The last decoder stage works on half the input's pixels and its result is interpolated: flows are smooth inside a
    cell, and the stage at full size would cost as much as all others together.

    Parameters
    ----------
    in_channels : channels of the input
    encoder_channels : widths of the four residual stages
    stem_width : half the width of the first convolutions
    decoder_channels : widths of the decoder's stages, from the coarsest on
    """

    def __init__(
        self,
        in_channels: int,
        *,
        encoder_channels: tuple[int, ...] = (24, 48, 64, 96),
        stem_width: int = 8,
        decoder_channels: tuple[int, ...] = (64, 48, 32, 16),
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "in_channels": in_channels,
            "encoder_channels": list(encoder_channels),
            "stem_width": stem_width,
            "decoder_channels": list(decoder_channels),
        }
        self.encoder = get_encoder(
            "tu-resnet10t",
            in_channels=in_channels,
            depth=5,
            weights=None,
            channels=tuple(encoder_channels),
            stem_width=stem_width,
        )
        self.decoder = UnetDecoder(self.encoder.out_channels, tuple(decoder_channels), n_blocks=len(decoder_channels))
        self.head = nn.Conv2d(decoder_channels[-1], 3, kernel_size=3, padding=1)
        # Convolutions of this width are about twice as fast on a CPU in this layout.
        self.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """Where the weights are; Cellpose moves its tiles there."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights; Cellpose casts its tiles to it."""
        return next(self.parameters()).dtype

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict flows and probability.

        Parameters
        ----------
        x : (N, in_channels, Y, X) normalised images; Y and X are multiples of 32

        Returns
        -------
        y : (N, 3, Y, X): five times the flow along y and x, and the logit of lying in an object
        style : (N, 256) zeros, which Cellpose 4 expects and does not use
        """
        y = functional.interpolate(self.coarse(x), size=x.shape[2:], mode="bilinear", align_corners=False)
        return y, y.new_zeros((len(y), 256))

    def coarse(self, x: torch.Tensor) -> torch.Tensor:
        """As `forward`, before interpolation: (N, 3, Y / 2, X / 2). Training compares this with its targets."""
        return self.head(self.decoder(self.encoder(x.contiguous(memory_format=torch.channels_last))))


def save_networks(path: str | Path, networks: Mapping[str, CompactNet], **about: Any) -> None:
    """Write the nuclei and the cell network to one safetensors file, their settings in its header.

    Parameters
    ----------
    path : file to write
    networks : "nuclei" and "cells"
    about : more to keep in the header, anything that JSON can hold
    """
    path = Path(path)
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    settings = {name: network.settings for name, network in networks.items()}
    metadata = {"format": FORMAT, "networks": json.dumps(settings), "about": json.dumps(about, sort_keys=True)}
    with replacing(path) as to:
        to.write_bytes(save(tensors, metadata=metadata))


def load_networks(path: str | Path) -> tuple[dict[str, CompactNet], dict[str, Any]]:
    """Read the networks from a weights file; every tensor must be there and none may be left over.

    Returns
    -------
    networks : "nuclei" and "cells", in evaluation mode
    about : what else `save_networks` kept, for example the pixel size at which they were trained

    Raises
    ------
    CheckpointError : not a weights file of these networks, or a damaged one
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot read the segmentation weights ({error})") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: not weights of the compact segmentation network (format {metadata.get('format')!r}, "
            f"expected {FORMAT!r}); train them with the target train_compact"
        )
    described, about = _headers(metadata, path)
    networks = {}
    for name, settings in described.items():
        state = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        networks[name] = _network_of(settings, state, f"{path}: the {name} network").eval()
    left_over = [key for key in tensors if key.partition(".")[0] not in networks]
    if set(networks) != set(INPUTS) or left_over:
        raise CheckpointError(
            f"{path}: expected the networks {', '.join(INPUTS)}, found {', '.join(networks) or 'none'}"
        )
    return networks, about


def _headers(metadata: Mapping[str, str], path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the networks, and what else is known of them."""
    try:
        described, about = json.loads(metadata["networks"]), json.loads(metadata.get("about", "{}"))
    except (KeyError, ValueError, RecursionError):
        described, about = None, {}
    if not isinstance(described, dict) or not isinstance(about, dict):
        raise CheckpointError(f"{path}: the file does not say which networks it holds; train them with train_compact")
    return described, about


def _network_of(settings: Any, tensors: Mapping[str, torch.Tensor], what: str) -> CompactNet:
    """A network of settings that a file gives; its shapes are compared before it takes memory, since a file may say anything."""
    largest = max((side for value in tensors.values() for side in value.shape), default=0)
    numbers = [settings] if not isinstance(settings, dict) else [*settings.values()]
    numbers = [one for value in numbers for one in (value if isinstance(value, list) else [value])]
    counts = all(isinstance(one, int) and not isinstance(one, bool) and 0 < one <= largest for one in numbers)
    if not counts or len(numbers) > len(tensors):
        raise CheckpointError(f"{what} does not fit its settings: {reprlib.repr(settings)}")
    try:
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in CompactNet(**settings).state_dict().items()}
    except (TypeError, ValueError, RuntimeError, AssertionError, LookupError) as error:
        raise CheckpointError(f"{what} does not fit its settings ({error})") from error
    found = {name: value.shape for name, value in tensors.items()}
    wrong = sorted(name for name in {*shapes, *found} if shapes.get(name) != found.get(name))
    if wrong:
        raise CheckpointError(f"{what} does not fit its settings: {len(wrong)} weights, such as {wrong[0]!r}")
    network = CompactNet(**settings)
    network.load_state_dict(tensors, strict=True)
    return network
