"""The supervised network of the Kaggle challenge's team `bestfitting`: InceptionV3 with CBAM, 19 locations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torchvision.models import Inception3

from subcell.embedding.network import Seen
from subcell.embedding.timm_network import load_all
from subcell.errors import CheckpointError
from subcell.model.weights.released import read_pickle

BESTFITTING_CHANNELS = ("microtubules", "protein", "nucleus", "er")
"""Red, green, blue, yellow."""

IMAGE_PX = 128
MARGIN_UM = 20 * 0.0800885
"""20 px of HPA's images around the box of a cell."""

WIDTH = 2048
BLOCKS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)
LAYERS = {f"layer{number}": BLOCKS[start:end] for number, (start, end) in
          enumerate(((0, 3), (3, 5), (5, 8), (8, 13), (13, 16)))}  # fmt: skip
"""The file names each block twice: by itself, and as part of a layer."""

NO_PART = re.compile(r"backbone\.(AuxLogits|fc)\..+|ml_logit\..+")
"""ImageNet's classifiers and the metric learning's, which no vector goes through."""

LOCATIONS = (
    *("Nucleoplasm", "Nuclear membrane", "Nucleoli", "Nucleoli fibrillar center", "Nuclear speckles"),
    *("Nuclear bodies", "Endoplasmic reticulum", "Golgi apparatus", "Intermediate filaments", "Actin filaments"),
    *("Microtubules", "Mitotic spindle", "Centrosome", "Plasma membrane", "Mitochondria", "Aggresome", "Cytosol"),
    *("Vesicles", "Negative"),
)
"""The challenge's classes, in the order of the network's outputs."""


class CBAM(nn.Module):
    """Attention of a feature map over its channels, then over its places (Woo et al. 2018, arXiv 1807.06521)."""

    def __init__(self, width: int, *, reduction: int = 32) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // reduction, 1)
        self.fc2 = nn.Conv2d(width // reduction, width, 1)
        self.conv_after_concat = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weigh (N, C, h, w)."""
        summaries = (x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True))
        x = x * sum(self.fc2(self.fc1(summary).relu()) for summary in summaries).sigmoid()
        places = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        return x * self.conv_after_concat(places).sigmoid()


class Bestfitting(nn.Module):
    """InceptionV3 without its pooling in between, CBAM, mean and maximum over places, and two dense layers."""

    has_attention = False
    classes: Sequence[str] = LOCATIONS
    dim = WIDTH

    def __init__(self) -> None:
        super().__init__()
        inception = Inception3(aux_logits=False, transform_input=False, init_weights=False)
        self.backbone = nn.ModuleDict({name: getattr(inception, name) for name in BLOCKS})
        first: nn.Module = self.backbone["Conv2d_1a_3x3"]
        first.conv = nn.Conv2d(len(BESTFITTING_CHANNELS), 32, 3, stride=2, bias=False)
        self.att_module = CBAM(WIDTH)
        self.fc_layers = nn.Sequential(
            nn.BatchNorm1d(2 * WIDTH),
            nn.Dropout(0.5),
            nn.Linear(2 * WIDTH, WIDTH),
            nn.ReLU(),
            nn.BatchNorm1d(WIDTH),
            nn.Dropout(0.5),
        )
        self.logit = nn.Linear(WIDTH, len(LOCATIONS))

    def forward(self, images: torch.Tensor, *, attention: bool = False) -> Seen:
        """See `subcell.embedding.network.Network`."""
        x = images
        for name in BLOCKS:
            x = self.backbone[name](x)
        x = self.att_module(x)
        vector = self.fc_layers(torch.cat((x.mean(dim=(2, 3)), x.amax(dim=(2, 3))), dim=1))
        return Seen(vector, probabilities=self.logit(vector).sigmoid())


def load_bestfitting(path: str | Path) -> Bestfitting:
    """Read the published checkpoint, every weight that a vector goes through.

    Parameters
    ----------
    path : PyTorch file with the weights, or with `state_dict`, `model_state_dict` or `model` that holds them

    Raises
    ------
    CheckpointError : missing, damaged, or not this network's
    """
    content = read_pickle(path)
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a table of weights; it holds something else")
    weights: dict[str, torch.Tensor] = {}
    for name, value in content.items():
        name = _block_name(str(name).removeprefix("module.").removeprefix("base_model."))
        if not isinstance(value, torch.Tensor) or NO_PART.fullmatch(name):
            continue
        if name in weights and not torch.equal(weights[name], value):
            raise CheckpointError(f"{path}: gives two values for {name!r}")
        weights[name] = value
    network = Bestfitting()
    load_all(network, weights, path)
    return network.eval()


def _block_name(name: str) -> str:
    """`backbone.layer0.1.conv.weight` is `backbone.Conv2d_2a_3x3.conv.weight`."""
    parts = name.split(".")
    if len(parts) > 2 and parts[0] == "backbone" and parts[1] in LAYERS and parts[2].isdigit():
        blocks = LAYERS[parts[1]]
        if int(parts[2]) < len(blocks):
            return ".".join(["backbone", blocks[int(parts[2])], *parts[3:]])
    return name
