"""One step of training after the other."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.fabric.strategies import DDPStrategy
from numpy.typing import NDArray

from subcell.errors import SubcellError
from subcell.model.data.batches import make_views
from subcell.model.data.sampler import Positives, positive_labels
from subcell.model.loop.gradients import compute_gradients
from subcell.model.loop.optimisation import build_optimizer
from subcell.model.loop.pretraining import Labels, Pretraining
from subcell.model.loop.validation import location_table
from subcell.model.network.encoder import Encoder
from subcell.model.running.processes import average_gradients, mean_of_processes, processes, rank

CLIP_NORM = 1.0
LONGEST_WAIT = timedelta(hours=6)
"""How long processes wait for each other: one of them looks at all validation cells, and the others for it."""
Spare = Literal["none", "gene", "locations"]


class CellLabels:
    """What the losses need to know of cells, by row number.

    Parameters
    ----------
    obs : (cells, ...) table of all cells
    rows : of the training cells
    classes : locations that the classifier tells apart
    positives : see `subcell.model.data.sampler.positive_labels`
    spare : column whose equal values keep cells from being negatives of each other
    """

    def __init__(
        self,
        obs: pd.DataFrame,
        rows: NDArray[np.int64],
        *,
        classes: Sequence[str],
        positives: Positives,
        spare: Spare = "none",
    ) -> None:
        columns = []
        for column in (positives, spare):
            of_training = np.full(len(obs), -1)
            of_training[rows] = positive_labels(obs.iloc[rows], column)
            columns.append(of_training)
        self._columns = [torch.from_numpy(values) for values in (*columns, *location_table(obs, classes))]

    def of(self, rows: torch.Tensor, device: torch.device) -> Labels:
        """Labels of the cells in these rows."""
        return Labels(rows.to(device), *(values[rows].to(device) for values in self._columns))


class TrainingLoop:
    """Network, optimiser and how a batch changes them.

    Parameters
    ----------
    network : to train
    labels : of the cells
    cells_per_item : of the sampler
    seed : of augmentation, masking and dropout
    device, precision, clip, ema, cells_per_pass, checkpoint_activations, compiled : see `subcell.model.loop.training.train`
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
        clip: Literal["apart", "together"] = "apart",
        ema: float = 0.0,
        cells_per_pass: int | None = None,
        checkpoint_activations: bool = False,
        compiled: bool = False,
    ) -> None:
        if device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32, as the reference
        self.network = network
        self._fabric = Fabric(
            # Said, or within a Slurm job it looks for processes that `srun` would have started.
            plugins=TorchElasticEnvironment() if processes() > 1 else LightningEnvironment(),
            accelerator=device,
            devices=processes(),
            strategy=DDPStrategy(timeout=LONGEST_WAIT) if processes() > 1 else "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        if processes() > 1:
            self._fabric.launch()
        network.to(self._fabric.device)
        self._optimizer = build_optimizer(network)
        network.encoder.checkpointing = checkpoint_activations
        self._average = copy.deepcopy(network.encoder).requires_grad_(False) if ema else None
        self._ema = ema
        if compiled:
            for part in (network.encoder, network.decoder):
                if part is not None:
                    part.compile()
        self._labels = labels
        self._cells_per_item = cells_per_item
        self._cells_per_pass = cells_per_pass
        self._seed = seed
        watching = [] if network.classifier is None or network.recipe.supervised else [*network.classifier.parameters()]
        if clip == "together":
            watching = []
        apart = {id(weight) for weight in watching}
        # Cut apart, or the labels that the classifier sees would scale the encoder's steps.
        self._clipped = (watching, [weight for weight in network.parameters() if id(weight) not in apart])

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._fabric.device

    @property
    def encoder(self) -> Encoder:
        """What is watched and kept: the encoder, or the running mean of its weights."""
        return self.network.encoder if self._average is None else self._average

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
        losses = compute_gradients(
            self.network,
            make_views(
                crops.to(self.device, non_blocking=True),
                recipe=self.network.recipe,
                cells_per_item=self._cells_per_item,
                generator=generator,
            ),
            self._labels.of(rows, self.device),
            generator=generator,
            autocast=self._fabric.autocast,
            cells_per_pass=self._cells_per_pass,
        )
        measured = dict(zip(losses, mean_of_processes(torch.stack([*losses.values()])).tolist(), strict=True))
        if not math.isfinite(measured["loss"]):
            raise SubcellError(
                f"the loss of step {number + 1} is {measured['loss']}; lower `training.learning_rate` or lengthen "
                "`training.warmup_epochs`"
            )
        average_gradients(self.network.parameters())
        norms = [torch.nn.utils.clip_grad_norm_(weights, CLIP_NORM) for weights in self._clipped]
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._take_into_average(number)
        return measured | {"gradient_norm": norms[1].item()}

    @torch.no_grad()
    def _take_into_average(self, number: int) -> None:
        if self._average is None:
            return
        # Early on, the mean of what there was so far: the first weights are random.
        decay = min(self._ema, (1 + number) / (10 + number))
        torch._foreach_lerp_(
            list(self._average.parameters()), [w.detach() for w in self.network.encoder.parameters()], 1 - decay
        )

    def state(self, *, ended: bool) -> dict[str, Any]:
        """All that later steps depend on; after the last one the optimiser's means, two thirds of it, are needed no more."""
        average = {} if self._average is None else {"average": self._average.state_dict()}
        optimizer = {} if ended else {"optimizer": self._optimizer.state_dict()}
        return {"network": self.network.state_dict(), **optimizer, **average}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        if "optimizer" in state:
            self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
