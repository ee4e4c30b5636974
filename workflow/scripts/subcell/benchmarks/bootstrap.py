"""Intervals by resampling independent units: proteins or fields, never single cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Metric = Callable[[ArrayLike, ArrayLike, ArrayLike], NDArray[np.floating]]
"""(truth, scores, weights (B, N)) -> (B,), as in `subcell.benchmarks.metrics`."""

LEVEL = 0.95
BLOCK_NUMBERS = 2**24
"""Weights held at a time."""


def resample(units: int, bootstraps: int, seed: int) -> NDArray[np.int64]:
    """How often each unit is drawn in each resample, (bootstraps, units); a row sums to `units`."""
    return np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=bootstraps)


def interval(
    values: ArrayLike, estimate: float, *, level: float = LEVEL, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float]:
    """Interval of an estimate from the spread of its resampled values: estimate -/+ 1.96 standard errors.

    Average precision of few proteins is higher in resamples than in the sample, since a protein drawn twice ranks beside
    itself. Quantiles of the resamples are shifted by that, their spread is not: with 20 proteins and 5 or 10 classes,
    quantiles (bias-corrected or not) held the expected score in 83 to 98 % of simulated data sets, this in 94 to 100 %.

    Parameters
    ----------
    values : resampled values; those that are not defined are left out
    estimate : the value of the sample itself
    bounds : what the score can reach; the interval is cut off there

    Returns
    -------
    low, high : NaN with fewer than two defined values
    """
    defined = np.asarray(values, float)
    defined = defined[np.isfinite(defined)]
    if len(defined) < 2 or not np.isfinite(estimate):
        return float("nan"), float("nan")
    reach = NormalDist().inv_cdf((1 + level) / 2) * float(defined.std(ddof=1))
    return max(estimate - reach, bounds[0]), min(estimate + reach, bounds[1])


def bootstrap_metric(
    metric: Metric,
    truth: ArrayLike,
    scores: ArrayLike,
    units: ArrayLike,
    *,
    bootstraps: int,
    seed: int,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float, float]:
    """A metric and its interval when whole units are drawn with replacement.

    Parameters
    ----------
    metric : see `Metric`
    truth, scores : (N, C)
    units : (N,) unit of each row; all rows of a unit are drawn together
    bootstraps : resamples
    seed : of the resamples
    bounds : what the metric can reach

    Returns
    -------
    value, low, high : low and high are NaN with fewer than two units
    """
    truth, scores = np.asarray(truth), np.asarray(scores)
    value = float(metric(truth, scores, np.ones((1, len(truth))))[0])
    blocks = _weights(units, bootstraps, seed)
    resampled = [metric(truth, scores, weights) for weights in blocks]
    low, high = interval(np.concatenate(resampled or [np.zeros(0)]), value, bounds=bounds)
    return value, low, high


def paired_bootstrap(
    metric: Metric,
    truth: ArrayLike,
    scores: ArrayLike,
    other_scores: ArrayLike,
    units: ArrayLike,
    *,
    bootstraps: int,
    seed: int,
) -> tuple[float, float, float]:
    """Difference of a metric between two models on the same rows, and its interval.

    Both models are scored on the same resamples, so what makes a resample hard for both cancels out.

    Returns
    -------
    difference (scores minus other_scores), low, high
    """
    truth, scores, other_scores = np.asarray(truth), np.asarray(scores), np.asarray(other_scores)
    once = np.ones((1, len(truth)))
    difference = float(metric(truth, scores, once)[0] - metric(truth, other_scores, once)[0])
    blocks = _weights(units, bootstraps, seed)
    resampled = [metric(truth, scores, weights) - metric(truth, other_scores, weights) for weights in blocks]
    low, high = interval(np.concatenate(resampled or [np.zeros(0)]), difference)
    return difference, low, high


def _weights(units: ArrayLike, bootstraps: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Weights of all rows, (resamples, N), a block of resamples at a time; none with fewer than two units."""
    names, codes = np.unique(np.asarray(units), return_inverse=True)
    if len(names) < 2:
        return
    counts = resample(len(names), bootstraps, seed)
    block = max(1, BLOCK_NUMBERS // len(codes))
    for start in range(0, bootstraps, block):
        yield counts[start : start + block][:, codes]
