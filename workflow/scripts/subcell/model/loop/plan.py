"""What a training costs before it starts: parameters, operations a step, memory, hours of a GPU.

`python -m subcell.model.loop.print_plan --config config/hpa-full.yaml` prints it for each model that a configuration trains.
Operations and the memory of activations are counted on the network itself, in a run on tensors without numbers; how fast
a device is, and what share of that a training reaches, stands in resources/training.tsv with its source.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from subcell.channels import CHANNELS
from subcell.model.loop.pretraining import Pretraining
from subcell.model.network.decoder import patchify
from subcell.model.network.sizes import size_named
from subcell.model.objectives.losses import contrastive_loss, reconstruction_loss
from subcell.model.objectives.recipes import recipe_named

RATES = Path(__file__).resolve().parents[5] / "resources" / "training.tsv"
TRAINING_ANTIBODIES = 10_433
"""SubCell's training list."""
TRAINING_CLASSES = 35
COUNTED_CELLS = 8
COUNTED_FROM = 10_000_000


@dataclass(frozen=True)
class Cost:
    """What one step of a training costs one device.

    Attributes
    ----------
    parameters : numbers of each part of the network
    step_flops : floating point operations of a step, a multiplication and an addition counted as two
    state_mb : weights, gradients and the optimiser's two means
    activations_mb : what is kept for the backward pass at its height
    views_mb : pixels of the batch, as stored and as augmented
    """

    parameters: Mapping[str, int]
    step_flops: float
    state_mb: float
    activations_mb: float
    views_mb: float

    @property
    def memory_mb(self) -> float:
        """All of it."""
        return self.state_mb + self.activations_mb + self.views_mb


def cost_of_step(network: Pretraining, cells: int, *, cells_per_pass: int | None = None, precision: str = "32") -> Cost:
    """Count what a step costs.

    Parameters
    ----------
    network : as it is trained; its weights are not touched
    cells : of a batch, on one device
    cells_per_pass, precision : see `subcell.model.loop.training.train`
    """
    recipe, encoder = network.recipe, network.encoder
    passing = cells if cells_per_pass is None else min(cells_per_pass, cells)
    cached = passing < cells and (recipe.contrasts or bool(recipe.supervised))
    flops = activations = 0.0
    for view in range(recipe.views):
        forward, all_of_it, kept = _count(lambda view=view: _pass(network, view), network, precision)  # type: ignore[misc]
        flops += (all_of_it + (forward if cached else 0)) / COUNTED_CELLS * cells
        share = kept / COUNTED_CELLS * passing
        # All views are kept where all cells pass at once, else one pass after the other.
        activations = activations + share if passing == cells else max(activations, share)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm1d) and module.training]
    for norm in norms:
        norm.eval()  # or it would note the statistics of numbers that are none
    _, heads, kept = _count(lambda: _heads(network, cells * recipe.views), network, precision)
    for norm in norms:
        norm.train()
    pixels = encoder.side * encoder.patch
    plane = pixels**2 * cells
    numbers = {name: sum(w.numel() for w in part.parameters()) for name, part in network.named_children()}
    return Cost(
        parameters=numbers,
        step_flops=flops + heads,
        state_mb=16 * sum(numbers.values()) / 1e6,
        activations_mb=(max(activations, kept) if cached else activations + kept) / 1e6,
        views_mb=plane * ((2 + len(CHANNELS)) + 4 * len(recipe.channels) * recipe.views) / 1e6,
    )


def _pass(network: Pretraining, view: int) -> torch.Tensor:
    """Some cells of one view through encoder and decoder."""
    encoder = network.encoder
    images = torch.empty(COUNTED_CELLS, len(network.recipe.channels), *(2 * [encoder.side * encoder.patch]))
    if network.decoder is None or view:
        return encoder(images).vector.sum()
    keep = torch.empty(COUNTED_CELLS, int(encoder.side**2 * (1 - network.recipe.mask_ratio)), dtype=torch.int64)
    seen = encoder(images, keep)
    loss = reconstruction_loss(network.decoder(seen.tokens, keep), patchify(images, encoder.patch), keep)
    return loss + seen.vector.sum()


def _heads(network: Pretraining, vectors: int) -> torch.Tensor:
    """All vectors of a batch through heads and losses."""
    given = torch.empty(vectors, network.encoder.dim, requires_grad=True)
    total = given.sum()
    for head in (network.cell_head, network.protein_head):
        if head is not None:
            total = total + contrastive_loss(head(given), torch.empty(vectors, dtype=torch.int64))
    if network.classifier is not None:
        total = total + network.classifier(given).sum()
    return total


def _count(run: Callable[[], torch.Tensor], network: Pretraining, precision: str) -> tuple[int, int, int]:
    """Operations forward, forward and backward, and bytes kept in between, of a run on tensors without numbers."""
    weights = {weight.untyped_storage()._cdata for weight in network.parameters()}
    kept: dict[int, tuple[Any, int]] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, torch.nn.Parameter) and storage._cdata not in weights:
            kept[storage._cdata] = (storage, storage.nbytes())
        return tensor

    aten = torch.ops.aten
    attention = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    }
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        FlopCounterMode(display=False, custom_mapping=attention) as counter,
    ):
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"),
        ):
            goal = run()
        forward = counter.get_total_flops()
        given = [weight for weight in network.parameters() if weight.requires_grad]
        torch.autograd.grad(goal, given, allow_unused=True)
        return forward, counter.get_total_flops(), sum(size for _, size in kept.values())


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward_flops(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


def describe_step(
    network: Pretraining, cells: int, cells_per_pass: int | None, precision: str, *, steps: int
) -> list[str]:
    """The cost of a step and of all of them, in words; of a small network, whose count would take its own time, the size."""
    numbers = sum(weight.numel() for weight in network.parameters())
    if numbers < COUNTED_FROM:
        return [f"{numbers / 1e6:.4g} million parameters"]
    cost = cost_of_step(network, cells, cells_per_pass=cells_per_pass, precision=precision)
    parts = ", ".join(f"{name} {count / 1e6:.3g}" for name, count in cost.parameters.items() if count)
    return [
        f"{numbers / 1e6:.4g} million parameters ({parts})",
        f"a step: {cost.step_flops / 1e12:,.4g} TFLOP, about {cost.memory_mb / 1000:.2g} GB on each device "
        f"(activations {cost.activations_mb / 1000:.2g}); all steps: {cost.step_flops * steps:.2g} FLOP",
    ]


def read_rates(path: Path = RATES) -> list[dict[str, str]]:
    """Rows of the table of devices: device, precision, flops_per_s, share, source."""
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t"))


def flops_per_s(device: str, precision: str) -> float:
    """Operations a second that a training reaches on a device of the table; of its first row where none has the precision."""
    rows = [row for row in read_rates() if row["device"] == device]
    row = next((row for row in rows if row["precision"] == precision), rows[0])
    return float(row["flops_per_s"]) * float(row["share"])


@dataclass(frozen=True)
class Training:
    """What a whole training computes.

    Attributes
    ----------
    network : as it is trained
    steps, cells : steps, and cells of each
    flops : operations of all steps on all devices
    """

    network: Pretraining
    steps: int
    cells: int
    flops: float


def count_training(settings: Mapping[str, Any], *, pixels: int, antibodies: int) -> Training:
    """Count what training one model of a configuration computes.

    Parameters
    ----------
    settings : of the model
    pixels : side of crops
    antibodies : that are trained on
    """
    training = settings["training"]
    recipe = recipe_named(settings["recipe"], settings["objective"])
    network = Pretraining(
        recipe=recipe, size=size_named(settings["size"]), image_px=pixels, classes=TRAINING_CLASSES, seed=0
    )
    items = antibodies * training["items_per_antibody"]
    batch = min(training["items_per_batch"], items)
    steps = training["epochs"] * (items // batch)
    cells = batch * training["cells_per_item"]
    step = cost_of_step(network, cells, cells_per_pass=training["cells_per_pass"], precision=training["precision"])
    return Training(network, steps, cells, step.step_flops * steps)


def describe_training(name: str, settings: Mapping[str, Any], counted: Training, *, gpus: int) -> str:
    """What training one model of a configuration takes, on each device of the table.

    Parameters
    ----------
    name, settings : of the model
    counted : see `count_training`
    gpus : that share a batch
    """
    training, network = settings["training"], counted.network
    pixels = network.encoder.side * network.encoder.patch
    lines = [
        f"{name}: {settings['recipe']}, {settings['size']}, {pixels} px, {counted.steps:,} steps of {counted.cells:,} cells",
        *describe_step(
            network, counted.cells // gpus, training["cells_per_pass"], training["precision"], steps=counted.steps
        ),
    ]
    for row in read_rates():
        if row["precision"] == training["precision"]:
            hours = counted.flops / flops_per_s(row["device"], row["precision"]) / 3600
            lines.append(
                f"{row['device']}, {row['precision']}: {hours:,.0f} hours of one, {hours / gpus:,.0f} with {gpus} "
                f"({float(row['share']):.0%} of {float(row['flops_per_s']):.3g} FLOP/s; {row['source']})"
            )
    return "\n  ".join(lines)
