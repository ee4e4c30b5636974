"""Optimiser and learning rate of the paper."""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import param_groups_weight_decay
from torch import nn

from subcell.model.loop.pretraining import Pretraining

WEIGHT_DECAY = 0.05
CELLS_A_RATE = 256
"""The learning rate is for that many cells a batch and grows with the batch."""
LAST_RATE = 0.001
"""Share of the learning rate at the end."""


def build_optimizer(network: Pretraining) -> torch.optim.AdamW:
    """AdamW: decay 0.05 on the weights of encoder and decoder, none on biases and norms, torch's own on the rest."""
    groups: list[dict[str, Any]] = []
    for module in (network.encoder, network.decoder):
        if module is not None:
            layers = nn.ModuleDict({name: part for name, part in module.named_children() if name != "pooling"})
            groups += param_groups_weight_decay(layers, WEIGHT_DECAY)
            # Class token, hidden token and learned positions belong to no layer.
            groups.append({"params": list(module.parameters(recurse=False)), "weight_decay": WEIGHT_DECAY})
    for part in (network.encoder.pooling, network.cell_head, network.protein_head, network.classifier):
        if part is not None:
            groups.append({"params": list(part.parameters())})
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, betas=(0.9, 0.95))


class Schedule:
    """Linear warm-up from zero, then linear decay to a thousandth of the peak at the last step.

    Parameters
    ----------
    learning_rate : peak for a batch of 256 cells
    cells : of a batch
    warmup_steps, steps : of the warm-up and in all
    """

    def __init__(self, learning_rate: float, *, cells: int, warmup_steps: int, steps: int) -> None:
        self.peak = learning_rate * cells / CELLS_A_RATE
        self._warmup_steps = warmup_steps
        self._steps = steps

    def rate(self, step: int) -> float:
        """Learning rate of a step, 0 .. steps - 1; the first one already learns."""
        if step < self._warmup_steps:
            return self.peak * (step + 1) / (self._warmup_steps + 1)
        left = (self._steps - 1 - step) / max(1, self._steps - 1 - self._warmup_steps)
        return self.peak * (LAST_RATE + (1 - LAST_RATE) * left)
