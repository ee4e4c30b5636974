"""The classifier that the paper trains on frozen embeddings."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from subcell.benchmarks.metrics import macro_ap

HIDDEN = (512, 256)
DROPOUT = 0.5
LEARNING_RATE = 1e-3
ALPHA, GAMMA = 0.25, 2.0
EPOCHS = 200
PATIENCE = 20
PLATEAU_FACTOR = 0.5
PLATEAU_PATIENCE = 4

PROTOCOL: dict[str, Any] = {
    "classifier": "MLP",
    "hidden": list(HIDDEN),
    "dropout": DROPOUT,
    "optimiser": "AdamW",
    "learning_rate": LEARNING_RATE,
    "loss": f"sigmoid focal, alpha {ALPHA}, gamma {GAMMA:g}",
    "epochs": EPOCHS,
    "early_stop": f"{PATIENCE} epochs without a better macro AP on the validation cells",
    "schedule": f"learning rate x {PLATEAU_FACTOR} after {PLATEAU_PATIENCE} epochs without improvement",
    "features": "standardised with mean and standard deviation of the training cells",
}
"""The paper's settings, as a benchmark reports them."""


@dataclass(frozen=True)
class Fit:
    """What one classifier says, and how it got there.

    Attributes
    ----------
    probabilities : (N, C) float32 of the cells that it was asked about
    epochs : passes until it stopped
    valid_macro_ap : its best macro AP on the validation cells, the one that was kept
    """

    probabilities: NDArray[np.float32]
    epochs: int
    valid_macro_ap: float


def standardise(features: NDArray[np.floating], train: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Features (N, D) with mean 0 and standard deviation 1 over the training rows; constant ones become 0."""
    scaler = StandardScaler().fit(np.asarray(features[train], np.float64))
    # A feature that is constant among the training cells has taught the classifier nothing.
    return np.where(scaler.scale_ == np.sqrt(scaler.var_), scaler.transform(features), 0).astype(np.float32)


def fit_mlp(
    features: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    train: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    test: NDArray[np.bool_],
    seed: int,
    batch_size: int = 8192,
) -> Fit:
    """Train one classifier and apply it.

    Parameters
    ----------
    features : (N, D) standardised
    truth : (N, C), several classes a row allowed
    train, valid, test : (N,) rows to learn from, to stop by and to predict
    seed : of weights, order and dropout; the result depends on nothing else
    batch_size : cells a step
    """
    x, y = torch.from_numpy(features[train]), torch.from_numpy(truth[train].astype(np.float32))
    x_valid, x_test = torch.from_numpy(features[valid]), torch.from_numpy(features[test])
    once = np.ones((1, int(valid.sum())))
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(features.shape[1], truth.shape[1])
        optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, mode="max", factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE
        )
        best, best_epoch, kept = -np.inf, 0, copy.deepcopy(network.state_dict())
        epoch = 0
        for epoch in range(1, EPOCHS + 1):
            network.train()
            for rows in torch.randperm(len(x)).split(batch_size):
                optimiser.zero_grad()
                sigmoid_focal_loss(network(x[rows]), y[rows], alpha=ALPHA, gamma=GAMMA, reduction="mean").backward()
                optimiser.step()
            score = float(macro_ap(truth[valid], _predict(network, x_valid), once)[0])
            schedule.step(score)
            if score > best:
                best, best_epoch, kept = score, epoch, copy.deepcopy(network.state_dict())
            if epoch - best_epoch >= PATIENCE:
                break
        network.load_state_dict(kept)
        return Fit(_predict(network, x_test), epoch, best)


def _network(features: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in HIDDEN:
        layers += [nn.Linear(features, size), nn.ReLU(), nn.Dropout(DROPOUT)]
        features = size
    return nn.Sequential(*layers, nn.Linear(features, classes))


@torch.no_grad()
def _predict(network: nn.Module, x: torch.Tensor) -> NDArray[np.float32]:
    """Probabilities (N, C)."""
    network.eval()
    return torch.cat([network(part).sigmoid() for part in x.split(8192)]).numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums depend on the number of threads in their last digits, and training makes much of last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
