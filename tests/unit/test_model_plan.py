"""The plan of a training: counted operations against formulas, memory against what a real pass keeps."""

from pathlib import Path

import pytest
import torch
import yaml
from training_example import MICRO

from subcell.config.check import resolve
from subcell.model.loop.plan import cost_of_step, count_training, describe_step, describe_training, read_rates
from subcell.model.loop.pretraining import Pretraining
from subcell.model.network.sizes import SIZES
from subcell.model.objectives.recipes import RECIPES

ROOT = Path(__file__).parents[2]


def network_of(recipe: str, size=MICRO, pixels: int = 32) -> Pretraining:
    return Pretraining(recipe=RECIPES[recipe], size=size, image_px=pixels, classes=3, seed=0)


def encoder_flops(size, pixels: int) -> tuple[int, int]:
    """Of a cell, forward, and forward and backward: patches, projections and MLP, attention, pooling."""
    patches, width = (pixels // size.patch) ** 2, size.width
    tokens = patches + 1
    first, later = 2 * patches * 4 * size.patch**2 * width, 0
    if size.stem:
        channels, sides = (4, *size.stem, width), [pixels // 2 ** (n + 1) for n in range(len(size.stem) + 1)]
        convolutions = [2 * 9 * channels[n] * channels[n + 1] * side**2 for n, side in enumerate(sides)]
        first, later = convolutions[0], sum(convolutions[1:])
    linear = size.depth * 2 * tokens * 12 * width**2
    attention = size.depth * 4 * tokens**2 * width
    pooling = 2 * tokens * (2 * width * size.pool_dim + size.pool_dim * size.pool_heads + size.pool_heads * width)
    forward = first + later + linear + attention + pooling
    # Images need no gradient; the fused attention computes its scores again.
    return forward, 2 * first + 3 * (later + linear + pooling) + attention * 7 // 2


@pytest.mark.parametrize(("size", "pixels"), [(MICRO, 32), (SIZES["tiny"], 96)])
def test_operations_are_those_of_the_formula(size, pixels: int) -> None:
    network = network_of("vit-prots-pool", size, pixels)
    network.protein_head = network.classifier = None
    forward, both = encoder_flops(size, pixels)
    whole = cost_of_step(network, 8).step_flops
    assert whole == pytest.approx(2 * 8 * both, rel=1e-3)
    assert cost_of_step(network, 8, cells_per_pass=2).step_flops - whole == pytest.approx(2 * 8 * forward, rel=1e-3)


def test_memory_is_what_a_pass_keeps() -> None:
    network = network_of("vit-supervised")
    kept: dict[int, int] = {}
    alive = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            alive.append(tensor)
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network.encoder(torch.rand(2 * 16, 4, 32, 32)).vector.sum()
    shared = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    real = sum(size for pointer, size in kept.items() if pointer not in shared)
    network.classifier = None
    assert cost_of_step(network, 16).activations_mb * 1e6 == pytest.approx(real, rel=0.05)


def test_a_plan_counts_and_changes_nothing() -> None:
    network = network_of("mae-cells-prots-pool")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cost = cost_of_step(network, 64, precision="bf16")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert all(weight.grad is None for weight in network.parameters())
    assert cost.state_mb == pytest.approx(16e-6 * sum(weight.numel() for weight in network.parameters()))
    assert cost.activations_mb < cost_of_step(network, 64).activations_mb
    in_parts = cost_of_step(network, 64, cells_per_pass=4)
    assert in_parts.activations_mb < cost_of_step(network, 64).activations_mb
    assert in_parts.memory_mb == in_parts.state_mb + in_parts.activations_mb + in_parts.views_mb
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert describe_step(network, 64, None, "32", steps=10) == [f"{millions:.4g} million parameters"]


def test_the_plan_of_the_whole_atlas_names_its_sources() -> None:
    config = resolve(yaml.safe_load((ROOT / "config/hpa-full.yaml").read_text()))
    settings = {**config["models"]["vit_prots_pool"], "size": "small"}
    counted = count_training(settings, pixels=config["crops"]["pixels"], antibodies=10_433)
    text = describe_training("vit", settings, counted, gpus=2)
    # 300 epochs of 41,732 items in batches of 128
    assert "97,800 steps of 1,024 cells" in text
    assert "H100 SXM, bf16" in text
    assert all(row["source"] and float(row["flops_per_s"]) > 0 and 0 < float(row["share"]) <= 1 for row in read_rates())
