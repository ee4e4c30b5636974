"""Networks of any architecture as embedders: what all of them share."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from subcell.channels import CHANNELS
from subcell.embedding.models import (
    ATTENTION,
    CLASS_ATTENTION,
    PROBABILITIES,
    PROBABILITIES_SD,
    Embedded,
)
from subcell.errors import CheckpointError
from subcell.model.network.encoder import Encoder
from subcell.model.network.inputs import Inputs


class Seen(NamedTuple):
    """What a network says of some cells.

    Attributes
    ----------
    vector : (N, D)
    attention : (N, heads, T), where its pooling looks among the patches, row by row
    class_attention : (N, heads, T), where the class token of the last block looks
    probabilities : (N, classes) of a classifier that is part of the network
    """

    vector: torch.Tensor
    attention: torch.Tensor | None = None
    class_attention: torch.Tensor | None = None
    probabilities: torch.Tensor | None = None


class Network(Protocol):
    """A network that embeds images.

    Attributes
    ----------
    dim : numbers in a vector
    has_attention : whether it can tell where it looks
    classes : names of the locations of its own classifier, none where it has none
    """

    dim: int
    has_attention: bool
    classes: Sequence[str]

    def __call__(self, images: torch.Tensor, *, attention: bool) -> Seen: ...


class SubcellNetwork(nn.Module):
    """SubCell's encoder in the form that embedders take."""

    classes: Sequence[str] = ()

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.dim = encoder.dim
        self.has_attention = True

    def forward(self, images: torch.Tensor, *, attention: bool) -> Seen:
        """See `Network`; the class token's own share of the attention is left out of the maps."""
        found = self.encoder(images, class_attention=attention)
        if not attention:
            return Seen(found.vector)
        maps = (None if weights is None else weights[..., 1:] for weights in (found.attention, found.class_attention))
        return Seen(found.vector, *maps)


class NetworkEmbedder:
    """Embed cells with a network.

    Parameters
    ----------
    name, description, requires : see `subcell.embedding.models.Embedder`
    network : gives vectors
    inputs : one a pass; the vectors of several passes (several proteins of a cell) stand side by side
    heads : location classifiers on the vector, (N, D) to (heads, N, classes)
    classes : names of the classes of `heads`
    attention : whether maps of attention are given too
    device : `cpu`, `cuda` or `cuda:N`
    precision : `32`, or `bf16` to compute in bfloat16 where that is safe: linear layers and convolutions; what they are
        added to, and norms, stay in float32
    compiled : compile the network first; pays off for many cells on a GPU
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        inputs: Sequence[Inputs] = (Inputs(),),
        description: Mapping[str, Any],
        requires: Sequence[str] = (),
        heads: Callable[[torch.Tensor], torch.Tensor] | None = None,
        classes: Sequence[str] = (),
        attention: bool = False,
        device: str = "cpu",
        precision: str = "32",
        compiled: bool = False,
    ) -> None:
        self.name = name
        self.requires = tuple(requires)
        self.inputs = tuple(inputs)
        self.has_attention = bool(network.has_attention)
        self.attention = attention and self.has_attention
        dim = int(network.dim)  # type: ignore[arg-type]
        if isinstance(heads, nn.Module):
            if heads.dim != dim:
                raise CheckpointError(
                    f"the location classifiers of model {name!r} take vectors of {heads.dim} numbers, its network gives {dim}"
                )
            heads.to(device)
        self._heads = heads
        names = list(classes or network.classes)  # type: ignore[arg-type]
        self.description = {
            **description,
            "normalisation": self.inputs[0].words,
            "masked": self.inputs[0].masked,
            "precision": precision,
            **({"location_classes": names} if names else {}),
        }
        self.features = tuple(f"vector_{i}" for i in range(dim * len(self.inputs)))
        self._device = torch.device(device)
        self._low = precision == "bf16"
        network = network.to(self._device).eval()
        if self._low:
            # Cast once: autocast alone casts every weight in every pass.
            for layer in network.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    layer.to(torch.bfloat16)
        self.reads_ahead = self._device.type == "cuda"
        if compiled:
            network.compile(dynamic=False)  # in place: it stays a network of its class
        self._network = network

    @torch.inference_mode()
    def embed(self, images: NDArray[Any] | torch.Tensor, obs: pd.DataFrame) -> Embedded:
        """See `subcell.embedding.models.Embedder.embed`; `obs` is not looked at."""
        crops = images if isinstance(images, torch.Tensor) else torch.from_numpy(images)
        crops = crops.to(self._device, non_blocking=True)
        vectors: list[torch.Tensor] = []
        more: dict[str, NDArray[Any]] = {}
        for number, inputs in enumerate(self.inputs):
            batch = inputs(crops)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._low):
                seen: Seen = self._network(batch, attention=self.attention)
            vectors.append(seen.vector.float())
            # Names say the protein of a further pass.
            suffix = f"_{inputs.channels[-1]}" if number else ""
            more |= {name + suffix: value for name, value in self._more(seen, batch.shape[-2:]).items()}
        return Embedded(torch.cat(vectors, dim=1).cpu().numpy(), more)

    @torch.inference_mode()
    def poolings(self, images: NDArray[Any], *, batch_size: int = 32) -> dict[str, NDArray[np.float32]]:
        """Vectors of cells with their surroundings, by how tokens become a vector.

        Parameters
        ----------
        images : (N, 6, H, W) as stored

        Returns
        -------
        `attention` (the network's own pooling, where it has one), `mean` of all patches, `class` token, (N, D) each; nothing
        for networks that are not of SubCell's form
        """
        if not isinstance(self._network, SubcellNetwork):
            return {}
        inputs = dataclasses.replace(self.inputs[0], masked=False)
        found: dict[str, list[torch.Tensor]] = {}
        for start in range(0, len(images), batch_size):
            crops = torch.from_numpy(images[start : start + batch_size]).to(self._device)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._low):
                seen = self._network.encoder(inputs(crops))
            vectors = {"mean": seen.tokens[:, 1:].mean(dim=1), "class": seen.tokens[:, 0]}
            if seen.attention is not None:
                vectors = {"attention": seen.vector, **vectors}
            for name, values in vectors.items():
                found.setdefault(name, []).append(values.float().cpu())
        return {name: torch.cat(values).numpy() for name, values in found.items()}

    def untrained(self, seed: int) -> NetworkEmbedder:
        """The same network with random weights."""
        other = copy.copy(self)
        other._network = copy.deepcopy(self._network)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            layers = set()
            network: nn.Module = other._network
            for name, layer in network.named_modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
                    layers.add(name)
            # Class token and learned positions belong to no layer.
            for name, values in network.named_parameters():
                if name.rpartition(".")[0] not in layers:
                    values.copy_(nn.init.trunc_normal_(torch.empty(values.shape), std=0.02))
        return other

    def _more(self, seen: Seen, image_px: Sequence[int]) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {}
        if self._heads is not None:
            probabilities = self._heads(seen.vector)
            found[PROBABILITIES] = probabilities.mean(dim=0).cpu().numpy()
            found[PROBABILITIES_SD] = probabilities.std(dim=0, correction=0).cpu().numpy()
        elif seen.probabilities is not None:
            found[PROBABILITIES] = seen.probabilities.float().cpu().numpy()
        for name, weights in ((ATTENTION, seen.attention), (CLASS_ATTENTION, seen.class_attention)):
            if weights is not None:
                found[name] = _maps(weights, image_px)
        return found


def passes(
    network_channels: Sequence[str],
    *,
    channel_map: Mapping[str, str] | None = None,
    proteins: Sequence[str] = (),
    masked: bool = True,
    **more: Any,
) -> tuple[Inputs, ...]:
    """The passes of a network over a cell, one a protein.

    Parameters
    ----------
    network_channels : what the network was trained on, in its order, the protein somewhere among them
    channel_map : channel of the network -> stored channel that stands in for it
    proteins : stored channels that take their turn as the protein; none: the protein alone
    masked : see `Inputs`
    more : other attributes of `Inputs`
    """
    channel_map = channel_map or {}
    return tuple(
        Inputs(
            channels=tuple(
                protein if name == CHANNELS[-1] else channel_map.get(name, name) for name in network_channels
            ),
            masked=masked,
            **more,
        )
        for protein in (proteins or [channel_map.get(CHANNELS[-1], CHANNELS[-1])])
    )


def substitutions(network_channels: Sequence[str], inputs: Sequence[Inputs]) -> str:
    """Channels that another stands in for, as text: "microtubules=er"; several passes in turn; "" where there are none."""
    found = [
        f"{name}={read}"
        for one in inputs
        for name, read in zip(network_channels, one.channels, strict=True)
        if name != read
    ]
    return ";".join(dict.fromkeys(found))


def _maps(attention: torch.Tensor, image_px: Sequence[int]) -> NDArray[np.float16]:
    """Attention (N, heads, patches) as maps (N, heads, h, w) of the patches."""
    height, width = image_px
    patches = attention.shape[-1]
    rows = round((patches * height / width) ** 0.5)
    return attention.unflatten(-1, (rows, patches // rows)).to(torch.float16).cpu().numpy()
