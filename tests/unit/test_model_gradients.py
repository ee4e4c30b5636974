"""Gradients of a batch in parts are those of the batch as a whole, for every recipe."""

import contextlib

import pytest
import torch
from training_example import MICRO

from subcell.model.data.batches import View
from subcell.model.loop.gradients import compute_gradients
from subcell.model.loop.pretraining import Labels, Pretraining
from subcell.model.objectives.recipes import RECIPES

COUNT = 10


def network_of(recipe: str, *, dropout: bool = False) -> Pretraining:
    network = Pretraining(recipe=RECIPES[recipe], size=MICRO, image_px=32, classes=3, seed=1).double()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout) and not dropout:
            module.p = 0.0
    return network.train()


def batch(network: Pretraining) -> tuple[list[View], Labels]:
    draws = torch.Generator().manual_seed(0)
    views = [
        View(torch.rand(COUNT, 4, 32, 32, generator=draws, dtype=torch.float64), torch.ones(COUNT, 32, 32))
        for _ in range(network.recipe.views)
    ]
    number = torch.arange(COUNT)
    # A lone antibody, a cell that occurs twice, unlabelled cells
    cells = torch.where(number == 9, 0, number)
    return views, Labels(cells, number // 3, number, torch.eye(3)[number % 3].double(), number % 4 > 0)


def gradients_of(network: Pretraining, cells_per_pass: int | None) -> tuple[dict, dict]:
    views, labels = batch(network)
    torch.manual_seed(3)
    losses = compute_gradients(
        network,
        views,
        labels,
        generator=torch.Generator().manual_seed(5),
        autocast=contextlib.nullcontext,
        cells_per_pass=cells_per_pass,
    )
    return losses, {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("recipe", RECIPES)
def test_parts_have_the_gradients_of_the_whole(recipe: str) -> None:
    losses, whole = gradients_of(network_of(recipe), None)
    assert whole["encoder.patch_embed.proj.weight"].abs().max() > 1e-6
    for cells_per_pass in (4, 1):
        again, parts = gradients_of(network_of(recipe), cells_per_pass)
        assert again.keys() == losses.keys()
        for name, value in losses.items():
            assert again[name].item() == pytest.approx(value.item(), rel=1e-9), name
        assert parts.keys() == whole.keys()
        for name, gradient in whole.items():
            torch.testing.assert_close(parts[name], gradient, rtol=1e-7, atol=1e-11, msg=lambda t, n=name: f"{n}: {t}")


def test_the_second_pass_has_the_dropout_of_the_first() -> None:
    """Beside the same parts in one graph, which pass once."""
    cached, single = network_of("vit-cells-prots-pool", dropout=True), network_of("vit-cells-prots-pool", dropout=True)
    cached.classifier = single.classifier = None
    _, found = gradients_of(cached, 4)
    views, labels = batch(single)
    torch.manual_seed(3)
    vectors = [single.encoder(part).vector for view in views for part in view.images.split(4)]
    single.losses(torch.cat(vectors), labels)["loss"].backward()
    for name, weight in single.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-7, atol=1e-11)
    _, whole = gradients_of(network_of("vit-cells-prots-pool", dropout=False), 4)
    name = "encoder.patch_embed.proj.weight"
    assert not torch.allclose(found[name], whole[name], rtol=1e-2)


def test_activations_computed_again_give_the_same_gradients() -> None:
    _, kept = gradients_of(network_of("mae-cells-prots-pool"), None)
    network = network_of("mae-cells-prots-pool")
    network.encoder.checkpointing = True
    _, again = gradients_of(network, None)
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_step_has_the_gradients_of_finite_differences() -> None:
    """All terms of a released recipe together, in one direction through all weights of the encoder."""
    network = network_of("mae-cells-prots-pool")
    _, found = gradients_of(network, None)
    directions = {name: torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
                  for name, weight in network.encoder.named_parameters()}  # fmt: skip
    views, labels = batch(network)

    def loss(step: float) -> float:
        with torch.no_grad():
            for name, weight in network.encoder.named_parameters():
                weight += step * directions[name]
            value = network(views, labels, generator=torch.Generator().manual_seed(5))["loss"]
            for name, weight in network.encoder.named_parameters():
                weight -= step * directions[name]
        return float(value)

    expected = (loss(1e-6) - loss(-1e-6)) / 2e-6
    given = sum(float((found[f"encoder.{name}"] * direction).sum()) for name, direction in directions.items())
    assert given == pytest.approx(expected, rel=1e-4)


def test_supervision_teaches_the_encoder_and_watching_does_not() -> None:
    _, supervised = gradients_of(network_of("vit-supervised"), None)
    assert supervised["encoder.norm.weight"].abs().max() > 0
    network = network_of("vit-prots-pool")
    views, labels = batch(network)
    losses = network(views, labels, generator=torch.Generator())
    losses["classifier"].backward()
    assert all(weight.grad is None for weight in network.encoder.parameters())
    assert any(weight.grad is not None for weight in network.classifier.parameters())
