"""Things ranked by their similarity to each other: average precision with which each finds its like.

Things that are equally similar have no order: precision is then its mean over their orders, as chance is, so that vectors
which are all the same are at chance whatever the order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from subcell.benchmarks.statistics.metrics import tied_precision


@dataclass(frozen=True)
class Ranking:
    """Where each thing stands for another, a row the one that looks.

    Attributes
    ----------
    above : (N, N) how many are more similar; infinity where it may not be looked at
    tied : (N, N) how many are as similar, itself counted; None where no two are
    """

    above: NDArray[np.float32]
    tied: NDArray[np.float32] | None


def rank_among(similarity: NDArray[np.floating], allowed: NDArray[np.bool_]) -> Ranking:
    """Rank all things for each other.

    Parameters
    ----------
    similarity : (N, N)
    allowed : (N, N) whether it may be looked at
    """
    key = np.where(allowed, -similarity, np.inf)
    order = np.argsort(key, axis=1, kind="stable")
    first, size = _runs(np.take_along_axis(key, order, axis=1))
    above, tied = (np.empty(order.shape, np.float32) for _ in range(2))
    np.put_along_axis(above, order, first.astype(np.float32), axis=1)
    np.put_along_axis(tied, order, size.astype(np.float32), axis=1)
    above[~allowed] = np.inf
    return Ranking(above, tied if (tied[allowed] > 1).any() else None)


def find_groups(
    ranking: Ranking, groups: NDArray[np.int_]
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.int_]]:
    """How well each thing finds the others of its group, from the ranking alone.

    Without ties the average precision is that of copairs' `average_precision`, which finds the same pairs anew for each way of
    processing and takes fifty times as long; of tied things copairs puts those of the group first.

    Parameters
    ----------
    groups : (N,) number of the group of each

    Returns
    -------
    precision, nearest, positives : (N,) average precision, nan where there is none to find; whether the first is one (of
        several first ones the share that are); how many there are to find
    """
    precision, nearest = np.full(len(groups), np.nan), np.zeros(len(groups))
    positives = np.zeros(len(groups), int)
    order = np.argsort(groups, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        within = np.ix_(members, members)
        above = ranking.above[within].astype(float)
        found = np.isfinite(above)
        positives[members] = found.sum(axis=1)
        if ranking.tied is None:
            places = np.sort(above, axis=1) + 1
            at_each = np.arange(1, len(members) + 1) / places
            nearest[members] = places[:, 0] == 1
        else:
            by_place = np.argsort(above, axis=1, kind="stable")
            above, tied = (np.take_along_axis(of, by_place, axis=1) for of in (above, ranking.tied[within]))
            found = np.isfinite(above)
            before, alike = _runs(above)
            at_each = np.where(found, tied_precision(before, np.where(found, above, 0), alike, tied), 0)
            nearest[members] = np.where(above[:, 0] == 0, alike[:, 0] / tied[:, 0], 0)
        with np.errstate(invalid="ignore"):
            precision[members] = at_each.sum(axis=1) / positives[members]
    return precision, nearest, positives


def _runs(ordered: NDArray[np.floating]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Of each place in rows of rising numbers: how many are before its run of equal ones, and how many are in it."""
    rows, many = ordered.shape
    starts = np.ones((rows, many), bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    places = np.arange(many)
    first = np.maximum.accumulate(np.where(starts, places, 0), axis=1)
    ends = np.ones((rows, many), bool)
    ends[:, :-1] = starts[:, 1:]
    last = np.minimum.accumulate(np.where(ends, places, many)[:, ::-1], axis=1)[:, ::-1]
    return first, last - first + 1
