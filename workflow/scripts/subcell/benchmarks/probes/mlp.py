"""The classifier that the paper trains on frozen embeddings: all seeds at once, as one batched network.

Each seed has its own weights, order, dropout, learning rate and early stop, exactly as if it were trained by itself; only
the arithmetic is shared (a batched matrix product instead of one a seed). speed/scoring.py compares both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from subcell.benchmarks.statistics.metrics import macro_ap

HIDDEN = (512, 256)
DROPOUT = 0.5
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
BETAS, EPSILON = (0.9, 0.999), 1e-8
"""AdamW's, as PyTorch has them."""

ALPHA, GAMMA = 0.25, 2.0
EPOCHS = 200
PATIENCE = 20
PLATEAU_FACTOR = 0.5
PLATEAU_PATIENCE = 4
PLATEAU_THRESHOLD = 1e-4
LARGEST_WEIGHT = 10.0
"""How much more than the average class a rare one may count where classes are balanced."""

THREADS = 1
"""Sums depend on the number of threads in their last digits, and training makes much of last digits."""

NUMBERS_AT_ONCE = 2**21
"""Numbers in the batches of all classifiers that a processor trains side by side: a few MB."""

ROWS_AT_ONCE = 2**14
"""Training cells whose features lie in memory as float64."""

Balance = Literal["none", "loss", "sampling"]

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
    epochs : passes over the training cells until it stopped
    valid_macro_ap : its best macro AP on the validation cells, the one that was kept
    """

    probabilities: NDArray[np.float32]
    epochs: int
    valid_macro_ap: float


def standardise(features: NDArray[np.floating], train: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Features (N, D) with mean 0 and standard deviation 1 over the training rows; constant ones become 0.

    Statistics are of float64, taken block by block: a million cells in float64 would be twice what they are.
    """
    scaler, rows = StandardScaler(), np.flatnonzero(train)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        scaler.partial_fit(np.asarray(features[rows[start : start + ROWS_AT_ONCE]], np.float64))
    scaled = scaler.transform(features).astype(np.float32, copy=False)
    # A feature that is constant among the training cells has taught the classifier nothing.
    scaled[:, scaler.scale_ != np.sqrt(scaler.var_)] = 0
    return scaled


def fit_mlps(
    features: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    train: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    test: NDArray[np.bool_],
    seeds: Sequence[int],
    batch_size: int = 8192,
    balance: Balance = "none",
    device: str = "cpu",
    epochs: int = EPOCHS,
) -> list[Fit]:
    """Train one classifier a seed, side by side, and apply each.

    Parameters
    ----------
    features : (N, D) standardised
    truth : (N, C), several classes a row allowed
    train, valid, test : (N,) rows to learn from, to stop by and to predict
    seeds : of weights, order and dropout; a classifier depends on its seed and on nothing else
    batch_size : cells a step
    balance : `loss` weighs each class by its inverse frequency among the training rows (mean 1, at most
        `LARGEST_WEIGHT`), `sampling` draws rows with replacement, each by its rarest class
    device : "cpu", or "cuda"
    epochs : passes at most

    Returns
    -------
    one `Fit` a seed
    """
    # A batch of every seed lies in memory at once; where that leaves a processor's cache, side by side is slower.
    rows = min(batch_size, int(train.sum()))
    many = len(seeds) if device != "cpu" else max(1, NUMBERS_AT_ONCE // max(1, rows * features.shape[1]))
    options: dict[str, Any] = {
        "train": train,
        "valid": valid,
        "test": test,
        "batch_size": batch_size,
        "balance": balance,
    }
    groups = [seeds[start : start + many] for start in range(0, len(seeds), many)]
    return [
        fit
        for group in groups
        for fit in _fit_together(features, truth, seeds=group, device=device, epochs=epochs, **options)
    ]


def _fit_together(
    features: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    train: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    test: NDArray[np.bool_],
    seeds: Sequence[int],
    batch_size: int,
    balance: Balance,
    device: str,
    epochs: int,
) -> list[Fit]:
    x, x_valid, x_test = (torch.from_numpy(features[rows]).to(device) for rows in (train, valid, test))
    y = torch.from_numpy(truth[train].astype(np.float32)).to(device)
    weights = _class_weights(truth[train])
    class_weights = torch.from_numpy(weights).to(device) if balance == "loss" else None
    row_weights = torch.from_numpy(_row_weights(truth[train], weights)) if balance == "sampling" else None
    y_valid, once = truth[valid], np.ones((1, int(valid.sum())))
    with _same_threads():
        heads = Heads.start(features.shape[1], truth.shape[1], seeds, device)
        best, kept = np.full(len(seeds), -np.inf), [heads.weights_of(place) for place in range(len(seeds))]
        best_epoch, last_epoch = np.zeros(len(seeds), int), np.zeros(len(seeds), int)
        for epoch in range(1, epochs + 1):
            orders = [_order(generator, len(x), row_weights) for generator in heads.order_generators]
            for start in range(0, len(x), batch_size):
                rows = torch.stack([order[start : start + batch_size] for order in orders]).to(device)
                heads.step(x[rows], y[rows], class_weights)
            probabilities = heads.predict(x_valid)
            for place, head in enumerate(heads.seeds_at):
                score = float(macro_ap(y_valid, probabilities[place].cpu().numpy(), once)[0])
                heads.notice(place, score)
                last_epoch[head] = epoch
                if score > best[head]:
                    best[head], best_epoch[head], kept[head] = score, epoch, heads.weights_of(place)
            # Who stops makes the others faster.
            going = [place for place, head in enumerate(heads.seeds_at) if epoch - best_epoch[head] < PATIENCE]
            if not going:
                break
            if len(going) < len(heads.seeds_at):
                heads.keep(going)
        found = [_forward([part[None] for part in weights], x_test[None])[0].sigmoid() for weights in kept]
    return [
        Fit(probabilities.cpu().numpy(), int(last_epoch[head]), float(best[head]))
        for head, probabilities in enumerate(found)
    ]


@dataclass
class Heads:
    """Classifiers that are trained side by side.

    Attributes
    ----------
    parameters : weight (S, in, out) and bias (S, 1, out) of each layer, in turn
    moments : first and second moment of AdamW for each of them
    rates : (S,) learning rates
    seeds_at : number of the seed at each of the S places; those that have stopped are gone
    generators, order_generators : of dropout and of the order of rows, one a place
    """

    parameters: list[Tensor]
    moments: list[tuple[Tensor, Tensor]]
    rates: Tensor
    seeds_at: list[int]
    generators: list[torch.Generator]
    order_generators: list[torch.Generator]
    steps: int = 0
    plateau_best: list[float] = field(default_factory=list)
    plateau_bad: list[int] = field(default_factory=list)

    @classmethod
    def start(cls, features: int, classes: int, seeds: Sequence[int], device: str) -> Heads:
        """Fresh classifiers, with the starting weights of `torch.nn.Linear`."""
        sizes = (features, *HIDDEN, classes)
        layers: list[list[Tensor]] = [[] for _ in range(2 * (len(sizes) - 1))]
        generators, orders = [], []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            for number, (before, after) in enumerate(pairwise(sizes)):
                bound = before**-0.5
                for place, shape in ((2 * number, (before, after)), (2 * number + 1, (1, after))):
                    layers[place].append(torch.empty(shape).uniform_(-bound, bound, generator=generator))
            orders.append(generator)
            generators.append(torch.Generator(device).manual_seed(seed + 2**32))
        parameters = [torch.stack(layer).to(device).requires_grad_() for layer in layers]
        return cls(
            parameters,
            [(torch.zeros_like(part), torch.zeros_like(part)) for part in parameters],
            torch.full((len(seeds),), LEARNING_RATE, device=device),
            list(range(len(seeds))),
            generators,
            orders,
            plateau_best=[-np.inf] * len(seeds),
            plateau_bad=[0] * len(seeds),
        )

    def step(self, x: Tensor, y: Tensor, class_weights: Tensor | None) -> None:
        """One step of every classifier: x (S, rows, features), y (S, rows, classes)."""
        masks = [torch.stack([_dropout(x.shape[1], size, g) for g in self.generators]) for size in HIDDEN]
        losses = focal_loss(_forward(self.parameters, x, masks), y)
        if class_weights is not None:
            losses = losses * class_weights
        # The gradient of a sum over classifiers is, for each, that of its own loss.
        gradients = torch.autograd.grad(losses.mean(dim=(1, 2)).sum(), self.parameters)
        self.steps += 1
        with torch.no_grad():
            rates = self.rates[:, None, None]
            for part, gradient, (first, second) in zip(self.parameters, gradients, self.moments, strict=True):
                first.lerp_(gradient, 1 - BETAS[0])
                second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
                size = (second / (1 - BETAS[1] ** self.steps)).sqrt_().add_(EPSILON)
                part.mul_(1 - rates * WEIGHT_DECAY).sub_(first / size * (rates / (1 - BETAS[0] ** self.steps)))

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Probabilities (S, N, C) of all classifiers for the same rows (N, D)."""
        parts = [_forward(self.parameters, rows.expand(len(self.seeds_at), -1, -1)).sigmoid() for rows in x.split(8192)]
        return torch.cat(parts, dim=1)

    def notice(self, place: int, score: float) -> None:
        """Halve the learning rate of a classifier that no longer improves, as `ReduceLROnPlateau` does."""
        if score > self.plateau_best[place] * (1 + PLATEAU_THRESHOLD) or self.plateau_best[place] == -np.inf:
            self.plateau_best[place], self.plateau_bad[place] = score, 0
        else:
            self.plateau_bad[place] += 1
        if self.plateau_bad[place] > PLATEAU_PATIENCE:
            self.rates[place] *= PLATEAU_FACTOR
            self.plateau_bad[place] = 0

    def weights_of(self, place: int) -> list[Tensor]:
        """A copy of the weights of one classifier."""
        return [part[place].detach().clone() for part in self.parameters]

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these only."""
        rows = torch.tensor(places, device=self.rates.device)
        self.parameters = [part.detach()[rows].requires_grad_() for part in self.parameters]
        self.moments = [(first[rows], second[rows]) for first, second in self.moments]
        self.rates = self.rates[rows]
        self.seeds_at = [self.seeds_at[place] for place in places]
        self.generators = [self.generators[place] for place in places]
        self.order_generators = [self.order_generators[place] for place in places]
        self.plateau_best = [self.plateau_best[place] for place in places]
        self.plateau_bad = [self.plateau_bad[place] for place in places]


def _forward(parameters: Sequence[Tensor], x: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
    """Logits (S, N, C) of S classifiers for rows (S, N, D); `masks` are factors of each hidden layer."""
    for number in range(0, len(parameters), 2):
        x = torch.baddbmm(parameters[number + 1], x, parameters[number])
        if number < len(parameters) - 2:
            x = x.relu()
            if masks:
                x = x * masks[number // 2]
    return x


def focal_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Sigmoid focal loss of each number (Lin et al. 2017), as torchvision has it, which takes a second to import."""
    entropy = binary_cross_entropy_with_logits(logits, truth, reduction="none")
    missed = 1 - torch.exp(-entropy)
    return (ALPHA * truth + (1 - ALPHA) * (1 - truth)) * missed**GAMMA * entropy


def _dropout(rows: int, size: int, generator: torch.Generator) -> Tensor:
    """What dropout multiplies by, (rows, size): one random byte a number, which is four times faster than a random float."""
    words = torch.empty(-(-rows * size // 8), dtype=torch.int64, device=generator.device)
    words.random_(-(2**63), 2**63 - 1, generator=generator)
    kept = words.view(torch.uint8)[: rows * size].view(rows, size) >= round(256 * DROPOUT)
    return kept.float().div_(1 - DROPOUT)


def _order(generator: torch.Generator, rows: int, weights: Tensor | None) -> Tensor:
    if weights is None:
        return torch.randperm(rows, generator=generator)
    return torch.multinomial(weights, rows, replacement=True, generator=generator)


def _class_weights(truth: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(C,) inverse frequency of each class, mean 1, at most `LARGEST_WEIGHT`."""
    inverse = 1 / np.maximum(truth.sum(axis=0), 1)
    return np.minimum(inverse / inverse.mean(), LARGEST_WEIGHT).astype(np.float32)


def _row_weights(truth: NDArray[np.bool_], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) how likely each row is drawn: the weight of its rarest class, or of the most frequent where it has none."""
    return np.where(truth.any(axis=1), np.where(truth, weights, 0).max(axis=1), weights.min()).astype(np.float32)


@contextmanager
def _same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
