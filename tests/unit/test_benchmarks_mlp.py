"""Classifiers that are trained side by side are those that would be trained one by one, with the protocol's settings."""

import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from subcell.benchmarks.probes import mlp

ROWS = np.arange(160)
SIDES = {"train": ROWS < 80, "valid": (ROWS >= 80) & (ROWS < 120), "test": ROWS >= 120}


def example(seed=0, classes=3):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(160, 6)).astype(np.float32)
    return features, features @ rng.normal(size=(6, classes)) + 0.5 * rng.normal(size=(160, classes)) > 0.5


def test_features_are_standardised_block_by_block(monkeypatch):
    rng = np.random.default_rng(0)
    features = rng.normal(5, 2, (1000, 4)).astype(np.float32)
    features[:, 3] = 7
    train = np.arange(1000) % 3 > 0
    whole = mlp.standardise(features, train)
    monkeypatch.setattr(mlp, "ROWS_AT_ONCE", 64)
    of_blocks = mlp.standardise(features, train)
    deviation = np.array([*features[train, :3].std(axis=0, dtype=float), 1])
    expected = (features - features[train].mean(axis=0, dtype=float)) / deviation
    expected[:, 3] = 0
    for found in (whole, of_blocks):
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.dtype == np.float32


def test_many_features_are_standardised_in_little_more_memory_than_they_are():
    features = np.random.default_rng(0).normal(size=(200_000, 64)).astype(np.float32)
    tracemalloc.start()
    mlp.standardise(features, np.ones(len(features), bool))
    _, height = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert height < 2.2 * features.nbytes


def test_a_classifier_depends_on_its_seed_alone():
    features, truth = example()
    together = mlp.fit_mlps(features, truth, **SIDES, seeds=[3, 4, 5], batch_size=32)
    for seed, fit in zip((3, 4, 5), together, strict=True):
        (alone,) = mlp.fit_mlps(features, truth, **SIDES, seeds=[seed], batch_size=32)
        assert fit.epochs == alone.epochs
        np.testing.assert_allclose(fit.probabilities, alone.probabilities, atol=1e-5)
    assert np.abs(together[0].probabilities - together[1].probabilities).max() > 1e-3


def test_test_cells_do_not_influence_the_classifier():
    features, truth = example()
    (fit,) = mlp.fit_mlps(features, truth, **SIDES, seeds=[0], batch_size=32)
    changed = truth.copy()
    changed[120:] = ~changed[120:]
    (again,) = mlp.fit_mlps(features, changed, **{**SIDES, "test": ROWS >= 150}, seeds=[0], batch_size=32)
    np.testing.assert_allclose(again.probabilities, fit.probabilities[-10:], atol=1e-5)


def test_steps_are_those_of_torchs_own_optimiser_and_schedule(monkeypatch):
    """The same network in torch's own parts, without dropout, of which no two ways draw the same."""
    monkeypatch.setattr(mlp, "DROPOUT", 0.0)
    features, truth = example()
    x, y = torch.from_numpy(features), torch.from_numpy(truth.astype(np.float32))
    heads = mlp.Heads.start(6, 3, [0, 1], "cpu")
    networks = []
    for place in range(2):
        layers = [nn.Linear(6, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 3)]
        for number, layer in enumerate(layers[::2]):
            layer.weight.data = heads.parameters[2 * number][place].detach().T.clone()
            layer.bias.data = heads.parameters[2 * number + 1][place, 0].detach().clone()
        networks.append(nn.Sequential(*layers))
    optimisers = [torch.optim.AdamW(network.parameters(), mlp.LEARNING_RATE) for network in networks]
    schedules = [
        torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode="max", factor=0.5, patience=4)
        for optimiser in optimisers
    ]
    for step in range(12):
        rows = torch.arange(step, step + 40)
        heads.step(x[rows].expand(2, -1, -1), y[rows].expand(2, -1, -1), None)
        for place, (network, optimiser, schedule) in enumerate(zip(networks, optimisers, schedules, strict=True)):
            optimiser.zero_grad()
            sigmoid_focal_loss(network(x[rows]), y[rows], alpha=0.25, gamma=2, reduction="mean").backward()
            optimiser.step()
            score = 0.5 if step > place else step / 20
            heads.notice(place, score)
            schedule.step(score)
            assert float(heads.rates[place]) == pytest.approx(optimiser.param_groups[0]["lr"])
    for place, network in enumerate(networks):
        theirs = network(x).sigmoid().detach().numpy()
        np.testing.assert_allclose(heads.predict(x)[place].numpy(), theirs, atol=1e-5)


def test_focal_loss_is_torchvisions():
    logits, truth = torch.randn(4, 5), (torch.rand(4, 5) < 0.4).float()
    torch.testing.assert_close(mlp.focal_loss(logits, truth), sigmoid_focal_loss(logits, truth, alpha=0.25, gamma=2))


def test_half_of_a_layer_is_dropped():
    factors = mlp._dropout(400, 512, torch.Generator().manual_seed(0))
    assert set(factors.unique().tolist()) == {0.0, 2.0}
    assert factors.mean() == pytest.approx(1, abs=0.01)
    assert factors.mean(dim=0).std() == pytest.approx(1 / 20, rel=0.1)


def test_sampling_raises_what_is_said_of_a_rare_class():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(160, 6)).astype(np.float32)
    truth = np.column_stack([rng.random(160) < 0.5, features[:, 0] > 1.3])
    said = {
        way: mlp.fit_mlps(features, truth, **SIDES, seeds=[0], batch_size=32, balance=way, epochs=10)[0].probabilities
        for way in ("none", "sampling")
    }
    assert said["sampling"][:, 1].mean() > said["none"][:, 1].mean()


def test_balanced_losses_are_plain_ones_where_classes_are_equally_frequent():
    features, truth = example(classes=2)
    truth[:80] = np.arange(80)[:, None] % 2 == [0, 1]
    for even in (True, False):
        truth[:20, 1] &= even
        said = [
            mlp.fit_mlps(features, truth, **SIDES, seeds=[0], batch_size=32, balance=way, epochs=5)[0].probabilities
            for way in ("none", "loss")
        ]
        assert np.allclose(*said, atol=1e-6) == even


def test_rows_without_a_class_are_drawn_like_those_of_the_most_frequent():
    truth = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], bool)
    weights = mlp._class_weights(truth)
    np.testing.assert_allclose(weights, [0.5, 1.5])
    np.testing.assert_allclose(mlp._row_weights(truth, weights), [0.5, 0.5, 1.5, 0.5])
