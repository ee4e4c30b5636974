"""Intervals by resampling independent units: proteins, wells or fields, never single cells.

All scores of a task on a dataset are resampled by the same draws (`draw_units`), units in sorted order. Two models that
were scored on the same units (`units_key`) are therefore compared in pairs by subtracting their resampled values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Metric = Callable[[ArrayLike, ArrayLike, ArrayLike], NDArray[np.floating]]
"""(truth, scores, weights (B, N)) -> (B,), as in `subcell.benchmarks.statistics.metrics`."""

LEVEL = 0.95
BLOCK_NUMBERS = 2**24
"""Weights held at a time."""


@dataclass(frozen=True)
class Estimate:
    """A score with its interval.

    Attributes
    ----------
    value, low, high : low and high are NaN with fewer than two units
    replicates : (B,) the score in each resample; empty with fewer than two units
    """

    value: float
    low: float
    high: float
    replicates: NDArray[np.floating]


def draw_units(units: int, *, bootstraps: int, seed: int) -> NDArray[np.int64]:
    """How often each unit is drawn in each resample, (bootstraps, units); a row sums to `units`.

    Units stand in sorted order of their names, so that the same seed draws the same units for every model.
    """
    return np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=bootstraps)


def units_key(units: Iterable[object]) -> str:
    """A hash of the names of the units: equal keys, equal draws."""
    names = sorted({str(name) for name in units})
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


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


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.floating]],
    units: int,
    *,
    bootstraps: int,
    seed: int,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    rows: int = 0,
) -> Estimate:
    """A score that is a function of how often each unit counts, and its interval.

    Parameters
    ----------
    statistic : counts (B, units), units in sorted order -> (B,)
    units : independent units
    bootstraps, seed : see `draw_units`
    bounds : what the score can reach
    rows : what the statistic weighs in each resample, if more than the units: as many resamples are asked for at a time as
        memory allows
    """
    value = float(statistic(np.ones((1, units), np.int64))[0])
    replicates: NDArray[np.floating] = np.zeros(0)
    if units > 1:
        counts = draw_units(units, bootstraps=bootstraps, seed=seed)
        block = max(1, BLOCK_NUMBERS // max(units, rows))
        replicates = np.concatenate([statistic(counts[start : start + block]) for start in range(0, bootstraps, block)])
    low, high = interval(replicates, value, bounds=bounds)
    return Estimate(value, low, high, replicates)


def bootstrap_mean(
    values: ArrayLike, *, bootstraps: int, seed: int, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Estimate:
    """The mean of one value a unit, (units,) in sorted order of their names; units without a value do not count."""
    values = np.asarray(values, float)
    defined = np.isfinite(values)
    known = np.where(defined, values, 0)

    def mean(counts: NDArray[np.int64]) -> NDArray[np.floating]:
        with np.errstate(invalid="ignore"):
            return (counts @ known) / (counts @ defined)

    return bootstrap(mean, len(values), bootstraps=bootstraps, seed=seed, bounds=bounds)


def bootstrap_metric(
    metric: Metric,
    truth: ArrayLike,
    scores: ArrayLike,
    units: ArrayLike,
    *,
    bootstraps: int,
    seed: int,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """A metric of rows and its interval when whole units are drawn with replacement.

    Parameters
    ----------
    metric : see `Metric`
    truth, scores : (N, C)
    units : (N,) unit of each row; all rows of a unit are drawn together
    bootstraps : resamples
    seed : of the resamples
    bounds : what the metric can reach
    """
    truth, scores = np.asarray(truth), np.asarray(scores)
    names, codes = np.unique(np.asarray(units), return_inverse=True)

    def weighted(counts: NDArray[np.int64]) -> NDArray[np.floating]:
        return metric(truth, scores, counts[:, codes])

    return bootstrap(weighted, len(names), bootstraps=bootstraps, seed=seed, bounds=bounds, rows=len(codes))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """How much higher one score is than another of the same units and draws, and its paired interval.

    What makes a resample hard for both cancels out, so it is narrower than the two intervals suggest.
    """
    value, replicates = one.value - other.value, one.replicates - other.replicates
    return Estimate(value, *interval(replicates, value), replicates)
