"""One step of training after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy
from numpy.typing import NDArray

from subcell.errors import SubcellError
from subcell.model.batches import make_views
from subcell.model.optimisation import build_optimizer
from subcell.model.pretraining import Pretraining
from subcell.model.processes import processes, rank
from subcell.model.sampler import Positives, positive_labels
from subcell.model.validation import location_table

CLIP_NORM = 1.0


class CellLabels:
    """What the losses need to know of cells, by row number.

    Parameters
    ----------
    obs : (cells, ...) table of all cells
    rows : of the training cells
    classes : locations that the classifier tells apart
    positives : see `subcell.model.sampler.positive_labels`
    """

    def __init__(
        self, obs: pd.DataFrame, rows: NDArray[np.int64], *, classes: Sequence[str], positives: Positives
    ) -> None:
        of_training = np.full(len(obs), -1)
        of_training[rows] = positive_labels(obs.iloc[rows], positives)
        locations, known = location_table(obs, classes)
        self._positives, self._locations, self._known = map(torch.from_numpy, (of_training, locations, known))

    def of(self, rows: torch.Tensor, device: torch.device) -> dict[str, torch.Tensor]:
        """Arguments of `Pretraining.forward` for the cells in these rows."""
        return {
            "cells": rows.to(device),
            "positives": self._positives[rows].to(device),
            "locations": self._locations[rows].to(device),
            "labelled": self._known[rows].to(device),
        }


class TrainingLoop:
    """Network, optimiser and how a batch changes them.

    Parameters
    ----------
    network : to train
    labels : of the cells
    cells_per_item : of the sampler
    seed : of augmentation, masking and dropout
    device, precision : see `subcell.model.training.train`
    """

    def __init__(
        self,
        network: Pretraining,
        *,
        labels: CellLabels,
        cells_per_item: int,
        seed: int,
        device: str,
        precision: Literal["32", "bf16"],
    ) -> None:
        self.network = network
        self._fabric = Fabric(
            accelerator=device,
            devices=processes(),
            # The classifier has nothing to learn from a batch without labels.
            strategy=DDPStrategy(find_unused_parameters=True) if processes() > 1 else "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        if processes() > 1:
            self._fabric.launch()
        self._forward, self._optimizer = self._fabric.setup(network, build_optimizer(network))
        self._labels = labels
        self._cells_per_item = cells_per_item
        self._seed = seed
        classifier = [] if network.classifier is None else list(network.classifier.parameters())
        watching = {id(weight) for weight in classifier}
        # Cut apart, or the labels that the classifier sees would scale the encoder's steps.
        self._clipped = (classifier, [weight for weight in network.parameters() if id(weight) not in watching])

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._fabric.device

    def step(self, number: int, rows: torch.Tensor, crops: torch.Tensor, *, learning_rate: float) -> dict[str, float]:
        """Learn from one batch.

        Parameters
        ----------
        number : of the step; its random numbers depend on it and the seed alone, so a run that goes on draws the same
        rows : (N,) of the cells
        crops : (N, 6, H, W) of them
        learning_rate : of this step

        Returns
        -------
        losses, `gradient_norm` before it is cut at 1

        Raises
        ------
        SubcellError : the loss is not a number
        """
        own = (rank(),) if rank() else ()
        drawn = int(np.random.SeedSequence((self._seed, number, *own)).generate_state(1, np.uint64)[0] >> 1)
        generator = torch.Generator(self.device).manual_seed(drawn)
        torch.manual_seed(drawn)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        views = make_views(
            crops.to(self.device),
            recipe=self.network.recipe,
            cells_per_item=self._cells_per_item,
            generator=generator,
        )
        losses = self._forward(views, **self._labels.of(rows, self.device), generator=generator)
        loss = losses["loss"].item()
        if not math.isfinite(loss):
            raise SubcellError(
                f"the loss of step {number + 1} is {loss}; lower `training.learning_rate` or lengthen "
                "`training.warmup_epochs`"
            )
        self._fabric.backward(losses["loss"] + losses.get("classifier", 0.0))
        norms = [torch.nn.utils.clip_grad_norm_(weights, CLIP_NORM) for weights in self._clipped]
        self._optimizer.step()
        self._optimizer.zero_grad()
        return {name: value.item() for name, value in losses.items()} | {"gradient_norm": norms[1].item()}

    def state(self) -> dict[str, Any]:
        """All that later steps depend on."""
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
