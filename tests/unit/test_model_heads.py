"""Heads and losses together, against the formulas of the published code written out again."""

import pytest
import torch
from torch import nn
from training_example import MICRO

from subcell.model.loop.pretraining import Labels, Pretraining
from subcell.model.objectives.losses import contrastive_loss
from subcell.model.objectives.recipes import recipe_named

CELLS, DIM = 24, 32


def published_loss(head, views: list[torch.Tensor], labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Each view goes through the head by itself, then every projection is compared with every other one."""
    projected = []
    for view in views:
        values = view
        for layer in head.layers:
            if isinstance(layer, nn.BatchNorm1d):
                mean, variance = values.mean(dim=0), values.var(dim=0, unbiased=False)
                values = layer.weight * (values - mean) / (variance + layer.eps).sqrt() + layer.bias
            else:
                values = layer(values)
        projected.append(values / values.norm(dim=1, keepdim=True))
    features, everyone = torch.cat(projected), labels.repeat(len(views))
    terms = []
    for anchor in range(len(features)):
        others = [other for other in range(len(features)) if other != anchor]
        exponents = {other: torch.exp(features[anchor] @ features[other] / temperature) for other in others}
        below = sum(exponents.values())
        positives = [other for other in others if everyone[other] == everyone[anchor]]
        terms.append(-sum(torch.log(exponents[other] / below) for other in positives) / len(positives))
    return torch.stack(terms).mean()


@pytest.fixture
def network() -> Pretraining:
    recipe = recipe_named("vit-cells-prots-pool")
    return Pretraining(recipe=recipe, size=MICRO, image_px=32, classes=0, seed=3).double().train()


def two_views(dim: int, offset: float) -> list[torch.Tensor]:
    """Two views of cells that are alike but for some noise and a constant by which the second is off."""
    draws = torch.Generator().manual_seed(1)
    cells = torch.randn(CELLS, dim, generator=draws, dtype=torch.float64)
    noise = 0.3 * torch.randn(2, CELLS, dim, generator=draws, dtype=torch.float64)
    return [cells + noise[0], cells + noise[1] + offset]


def labels_of(antibodies: torch.Tensor) -> Labels:
    cells = torch.arange(CELLS)
    return Labels(cells, antibodies, cells, torch.zeros(CELLS, 0), torch.zeros(CELLS, dtype=torch.bool))


@pytest.mark.parametrize("offset", [0.0, 1.0, 3.0])
def test_both_losses_are_the_published_ones_also_where_views_are_offset(network, offset) -> None:
    views = two_views(network.encoder.dim, offset)
    antibodies = torch.arange(CELLS) // 4
    losses = network.losses(torch.cat(views), labels_of(antibodies))
    cells = published_loss(network.cell_head, views, torch.arange(CELLS), 0.1)
    proteins = published_loss(network.protein_head, views, antibodies, 0.1)
    assert losses["cell_specific"].item() == pytest.approx(cells.item(), rel=1e-9)
    assert losses["protein_specific"].item() == pytest.approx(proteins.item(), rel=1e-9)


def test_an_offset_between_views_is_no_signal(network) -> None:
    """With both views in one batch of the heads it would be: then views of one cell are told apart by it."""
    cells = labels_of(torch.arange(CELLS) // 4)
    without, with_offset = (
        network.losses(torch.cat(two_views(network.encoder.dim, offset)), cells)["cell_specific"].item()
        for offset in (0.0, 3.0)
    )
    assert with_offset == pytest.approx(without, rel=1e-6)
    together = network.cell_head(torch.cat(two_views(network.encoder.dim, 3.0)))
    assert contrastive_loss(together, torch.arange(CELLS).repeat(2)).item() > without + 0.3
