"""Multilabel metrics with a weight for each row, for many sets of weights at once.

A bootstrap resample is a set of whole-number weights, so ranking the rows once serves all resamples; scikit-learn, with
which these agree where no scores are equal, would rank them anew each time. Where scores are equal nothing is known of
the order: each metric is then its mean over the orders of the tied, as chance is, so that vectors that are all the same are
at chance. All functions take

truth : (N, C) 0 or 1
scores : (N, C), higher is surer
weights : (B, N) not negative, one set a row

and return (B,) values, NaN where a metric is not defined.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma

Array = NDArray[np.floating]
NUMBERS_AT_ONCE = 2**24
"""Ranked weights held at a time, float64."""


def class_ap(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike, *, in_parts: bool = False) -> Array:
    """Average precision of each class, (B, C); NaN where a class has no positive row of any weight.

    Parameters
    ----------
    in_parts : rows are parts of things, and weights their shares: parts of equal scores come at once, so that the precision
        is that at their end
    """
    truth, scores, weights = _checked(truth, scores, weights)
    columns = range(truth.shape[1])
    return np.column_stack([_average_precision(truth[:, c], scores[:, c], weights, in_parts=in_parts) for c in columns])


def class_auc(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Array:
    """Area under the ROC curve of each class, (B, C); NaN where all rows or none are positive."""
    truth, scores, weights = _checked(truth, scores, weights)
    return np.column_stack([_roc_auc(truth[:, c], scores[:, c], weights) for c in range(truth.shape[1])])


def macro_ap(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Array:
    """Mean over classes of the average precision; a class without positives does not count."""
    return _mean_of_defined(class_ap(truth, scores, weights))


def macro_auc(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Array:
    """Mean over classes of the area under the ROC curve."""
    return _mean_of_defined(class_auc(truth, scores, weights))


def micro_ap(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Array:
    """Average precision over all pairs of row and class together."""
    truth, scores, weights = _checked(truth, scores, weights)
    rows = np.repeat(np.arange(truth.shape[0]), truth.shape[1])
    return _average_precision(truth.ravel(), scores.ravel(), weights, rows)


def coverage_error(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Array:
    """How far down its ranked classes one has to go to cover all that a row has, on average; lower is better.

    Rows without any class are left out (scikit-learn counts them as 0).
    """
    truth, scores, weights = _checked(truth, scores, weights)
    some = truth.any(axis=1)
    truth, scores = truth[some], scores[some]
    lowest = np.where(truth, scores, np.inf).min(axis=1, keepdims=True)
    tied = scores == lowest
    positives = (tied & truth).sum(axis=1)
    # Of P positives among T tied classes the last stands at place P (T + 1) / (P + 1) on average.
    last = (scores > lowest).sum(axis=1) + positives * (tied.sum(axis=1) + 1) / (positives + 1)
    return _weighted_mean(last, weights[:, some])


def label_ranking_ap(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Array:
    """Mean over rows of the precision at each of its classes in the row's ranking.

    Rows without any class are left out (scikit-learn counts them as 1).
    """
    truth, scores, weights = _checked(truth, scores, weights)
    some = truth.any(axis=1)
    truth, scores = truth[some], scores[some]
    above, tied = (of(scores[:, None, :], scores[:, :, None]) for of in (np.greater, np.equal))
    precision = tied_precision(
        *((above & truth[:, None, :]).sum(axis=2), above.sum(axis=2)),
        *((tied & truth[:, None, :]).sum(axis=2), tied.sum(axis=2)),
    )
    return _weighted_mean((np.where(truth, precision, 0)).sum(axis=1) / truth.sum(axis=1), weights[:, some])


def accuracy(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Array:
    """Share of rows whose highest score is at their class; for one class a row, and of several highest ones each a part."""
    truth, scores, weights = _checked(truth, scores, weights)
    highest = scores == scores.max(axis=1, keepdims=True)
    return _weighted_mean((highest & truth).sum(axis=1) / highest.sum(axis=1), weights)


METRICS: dict[str, Callable[[ArrayLike, ArrayLike, ArrayLike], Array]] = {
    "macro_ap": macro_ap,
    "micro_ap": micro_ap,
    "macro_auc": macro_auc,
    "coverage_error": coverage_error,
    "label_ranking_ap": label_ranking_ap,
    "accuracy": accuracy,
}

BOUNDS = {name: (1.0, np.inf) if name == "coverage_error" else (0.0, 1.0) for name in METRICS}
"""What a metric can reach."""


def chance_of(metric: str, truth: ArrayLike) -> float:
    """What scores that know nothing of a row, and are drawn for each row by itself, reach on average.

    Average precision, label-ranking AP and coverage error: the expectation over random rankings, for the macro mean
    averaged over classes. For average precision that is a little more than the share of positives, and clearly more
    where rows are few: 0.31 instead of 0.2 with 4 of 20. AUC: 0.5. Accuracy: the share of the largest class. Scores that
    are alike within a protein or a plate reach a little more average precision than that.
    """
    truth = np.asarray(truth, bool)
    classes = truth.shape[1]
    if metric == "macro_ap":
        positives = truth.sum(axis=0)
        return float(expected_ap(positives[positives > 0], len(truth)).mean())
    if metric == "micro_ap":
        return float(expected_ap(truth.sum(), truth.size))
    if metric == "macro_auc":
        return 0.5
    if metric == "accuracy":
        return float(truth.mean(axis=0).max())
    having = truth.sum(axis=1)[truth.any(axis=1)]
    if metric == "coverage_error":
        # Expectation of the largest of k numbers drawn from 1..C without replacement.
        return float((having * (classes + 1) / (having + 1)).mean())
    if metric == "label_ranking_ap":
        return float(expected_ap(having, classes).mean())
    raise KeyError(metric)


def expected_ap(positives: ArrayLike, places: int) -> Array:
    """Mean average precision over all orders of `places` of which `positives` are positive.

    That of things which all have the same score.
    """
    return tied_precision(0, 0, positives, places)


def tied_precision(positives_above: ArrayLike, above: ArrayLike, positives: ArrayLike, tied: ArrayLike) -> Array:
    """Mean precision at the places of the positives among things with equal scores, over all orders of these.

    With none above it is `expected_ap`; with one thing it is the precision at its place. Of T tied things, P of them positive,
    a positive stands at each place j with the same chance, with (j - 1)(P - 1) / (T - 1) others above it on average: the mean
    over j of (A + 1 + (j - 1)(P - 1) / (T - 1)) / (N + j), where N things, A of them positive, have higher scores.

    Parameters
    ----------
    positives_above, above : A and N
    positives, tied : P and T

    Returns
    -------
    nan without a positive
    """
    a, n, p, t = (np.asarray(part, float) for part in (positives_above, above, positives, tied))
    others = (p - 1) / np.maximum(t - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = others + (a + 1 - others * (1 + n)) * (digamma(n + t + 1) - digamma(n + 1)) / t
    return np.where(p > 0, found, np.nan)


def _checked(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> tuple[NDArray[np.bool_], Array, Array]:
    truth, scores = np.asarray(truth, bool), np.asarray(scores)
    weights = np.atleast_2d(np.asarray(weights, np.float64))
    if truth.shape != scores.shape or truth.ndim != 2 or weights.shape[1] != len(truth):
        raise ValueError(f"truth {truth.shape}, scores {scores.shape} and weights {weights.shape} do not fit")
    return truth, scores, weights


def _ranking(scores: Array) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.int_]]:
    """Order from the highest score, and for each place the first and last place of its run of equal scores."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(ranked) else np.zeros(0, int)
    run = np.searchsorted(starts, np.arange(len(ranked)), side="right") - 1
    ends = np.r_[starts[1:], len(ranked)] - 1
    return order, starts[run], ends[run]


def _average_precision(
    truth: NDArray[np.bool_],
    scores: Array,
    weights: Array,
    rows: NDArray[np.int_] | None = None,
    *,
    in_parts: bool = False,
) -> Array:
    """Sum over positives of their precision, divided by all positives.

    A row stays one however often it is drawn: its precision is that at the end of all that is drawn of it. Rows of equal
    scores have their mean over orders (`tied_precision`), drawn ones each by itself.

    `rows` says which column of the weights belongs to a place, where that is not its number.
    """
    order, starts, ends = _ranking(scores)
    columns = order if rows is None else rows[order]
    positive = np.flatnonzero(truth[order])
    # Positives up to the end of a run, and before it: those before the first positive beyond it, or in it.
    upto = np.searchsorted(positive, ends[positive], side="right")
    before = np.searchsorted(positive, starts[positive], side="left")
    several = np.flatnonzero((ends[positive] > starts[positive]) & (not in_parts))
    _, runs, run_of = np.unique(starts[positive[several]], return_index=True, return_inverse=True)
    runs = several[runs]

    def some(weights: Array) -> Array:
        ranked = weights[:, columns]
        hits = ranked[:, positive]
        nothing = np.zeros((len(ranked), 1))
        found, all_above = (np.concatenate([nothing, np.cumsum(of, axis=1)], axis=1) for of in (hits, ranked))
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = found[:, upto] / all_above[:, ends[positive] + 1]
            if len(several):
                a, n = found[:, before[runs]], all_above[:, starts[positive[runs]]]
                p, t = found[:, upto[runs]] - a, all_above[:, ends[positive[runs]] + 1] - n
                precision[:, several] = tied_precision(a, n, p, t)[:, run_of]
            return np.where(hits > 0, hits * precision, 0).sum(axis=1) / hits.sum(axis=1)

    # All pairs of row and class are many times the rows that the caller counted.
    sets = max(1, NUMBERS_AT_ONCE // max(1, len(columns)))
    return np.concatenate([some(weights[start : start + sets]) for start in range(0, len(weights), sets)])


def _roc_auc(truth: NDArray[np.bool_], scores: Array, weights: Array) -> Array:
    """Share of pairs of a positive and a negative in which the positive is surer; ties count half."""
    order, starts, ends = _ranking(scores)
    ranked, positive = weights[:, order], truth[order]
    negatives = np.concatenate([np.zeros((len(ranked), 1)), np.cumsum(np.where(positive, 0, ranked), axis=1)], axis=1)
    places = np.flatnonzero(positive)
    hits, total = ranked[:, places], negatives[:, -1:]
    below = total - (negatives[:, ends[places] + 1] + negatives[:, starts[places]]) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (hits * below).sum(axis=1) / (hits.sum(axis=1) * total[:, 0])


def _weighted_mean(values: ArrayLike, weights: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return weights @ np.asarray(values, float) / weights.sum(axis=1)


def _mean_of_defined(values: Array) -> Array:
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(axis=1) / defined.sum(axis=1)
