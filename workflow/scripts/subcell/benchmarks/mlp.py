"""The classifier that the paper trains on frozen embeddings."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from subcell.benchmarks.metrics import macro_ap

HIDDEN = (512, 256)
DROPOUT = 0.5
LEARNING_RATE = 1e-3
BATCH_SIZE = 8192
EPOCHS = 200
PATIENCE = 20
PLATEAU_FACTOR = 0.5
PLATEAU_PATIENCE = 4
FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0

PROTOCOL = {
    "classifier": "MLP",
    "hidden": list(HIDDEN),
    "dropout": DROPOUT,
    "optimiser": "AdamW",
    "learning_rate": LEARNING_RATE,
    "loss": f"sigmoid focal, alpha {FOCAL_ALPHA}, gamma {FOCAL_GAMMA:g}",
    "batch_size": BATCH_SIZE,
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
    known = np.asarray(features[train], np.float64)
    mean, spread = known.mean(axis=0), known.std(axis=0)
    # A feature that varies by rounding only would be blown up to noise.
    varies = spread > 1e-7 * np.maximum(np.abs(mean), 1e-12)
    return np.where(varies, (features - mean) / np.where(varies, spread, 1), 0).astype(np.float32)


def fit_mlp(
    features: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    train: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    test: NDArray[np.bool_],
    seed: int,
) -> Fit:
    """Train one classifier and apply it.

    Parameters
    ----------
    features : (N, D) standardised
    truth : (N, C), several classes a row allowed
    train, valid, test : (N,) rows to learn from, to stop by and to predict
    seed : of weights, order and dropout; the result depends on nothing else
    """
    rng = np.random.default_rng(seed)
    x, y = torch.from_numpy(np.ascontiguousarray(features[train])), torch.from_numpy(truth[train].astype(np.float32))
    x_valid, x_test = torch.from_numpy(features[valid]), torch.from_numpy(features[test])
    weights = np.ones((1, int(valid.sum())))
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = _layers(features.shape[1], truth.shape[1])
        optimiser = AdamW(list(layers.parameters()), LEARNING_RATE)
        best, best_epoch, kept = -np.inf, 0, copy.deepcopy(layers.state_dict())
        epoch, waited = 0, 0
        for epoch in range(1, EPOCHS + 1):
            for rows in _batches(len(x), rng):
                loss = focal_loss(_forward(layers, x[rows], rng), y[rows])
                optimiser.step(torch.autograd.grad(loss, optimiser.parameters))
            score = float(macro_ap(truth[valid], _predict(layers, x_valid), weights)[0])
            waited += 1
            if score > best:
                best, best_epoch, kept, waited = score, epoch, copy.deepcopy(layers.state_dict()), 0
            if waited > PLATEAU_PATIENCE:
                optimiser.learning_rate *= PLATEAU_FACTOR
                waited = 0
            if epoch - best_epoch >= PATIENCE:
                break
        layers.load_state_dict(kept)
        return Fit(_predict(layers, x_test), epoch, best)


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), torch's defaults.

    The same steps as `torch.optim.AdamW`, whose first use imports torch's compiler: several seconds a job.
    """

    beta_1, beta_2, epsilon, decay = 0.9, 0.999, 1e-8, 0.01

    def __init__(self, parameters: list[nn.Parameter], learning_rate: float) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        self._means = [torch.zeros_like(parameter) for parameter in parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in parameters]
        self._steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """Move the parameters against their gradients, given in the same order."""
        self._steps += 1
        rate = self.learning_rate / (1 - self.beta_1**self._steps)
        correction = (1 - self.beta_2**self._steps) ** 0.5
        for parameter, gradient, mean, square in zip(
            self.parameters, gradients, self._means, self._squares, strict=True
        ):
            mean.lerp_(gradient, 1 - self.beta_1)
            square.mul_(self.beta_2).addcmul_(gradient, gradient, value=1 - self.beta_2)
            parameter.mul_(1 - self.learning_rate * self.decay)
            parameter.addcdiv_(mean, (square.sqrt() / correction).add_(self.epsilon), value=-rate)


def focal_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean sigmoid focal loss (Lin et al. 2017, arXiv:1708.02002): errors that are nearly right count little."""
    plain = nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = torch.sigmoid(torch.where(truth > 0.5, -logits, logits))
    alpha = torch.where(truth > 0.5, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    return (alpha * wrong**FOCAL_GAMMA * plain).mean()


def _layers(features: int, classes: int) -> nn.ModuleList:
    sizes = (features, *HIDDEN, classes)
    return nn.ModuleList([nn.Linear(before, after) for before, after in pairwise(sizes)])


def _forward(layers: nn.ModuleList, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Logits with dropout after each hidden layer.

    Torch draws its dropout masks one number at a time, which on a CPU takes longer than the matrix products; here a
    random byte decides.
    """
    for layer in layers[:-1]:
        x = torch.relu(layer(x))
        noise = np.frombuffer(rng.bytes(x.numel()), np.uint8).reshape(x.shape)
        kept = noise >= round(256 * DROPOUT)
        x = x * torch.from_numpy(kept.astype(np.float32) / np.float32(1 - DROPOUT))
    return layers[-1](x)


@torch.no_grad()
def _predict(layers: nn.ModuleList, x: torch.Tensor) -> NDArray[np.float32]:
    """Probabilities (N, C), batch by batch."""
    found = []
    for part in x.split(BATCH_SIZE):
        for layer in layers[:-1]:
            part = torch.relu(layer(part))
        found.append(torch.sigmoid(layers[-1](part)))
    return torch.cat(found).numpy()


def _batches(rows: int, rng: np.random.Generator) -> Iterator[slice | torch.Tensor]:
    if rows <= BATCH_SIZE:
        yield slice(None)
        return
    order = torch.from_numpy(rng.permutation(rows))
    yield from order.split(BATCH_SIZE)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums depend on the number of threads in their last digits, and training makes much of last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
