"""Vectors of units from vectors of cells, and again from resampled wells or fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Average = Literal["mean", "median", "mean_and_spread"]
AVERAGES: tuple[Average, ...] = ("mean", "median", "mean_and_spread")

BLOCK_BYTES = 2**27

SPREAD_SHARE = 0.2
"""Share of the variance between units that the spread of cells gets beside their mean."""


@dataclass(frozen=True)
class Summaries:
    """Groups of cells, wells or fields of a unit, from which the vectors of units can be made again and again.

    Attributes
    ----------
    average : how the cells of a unit are summarised
    unit : (G,) unit of each group, rising
    counts : (G,) cells of each group
    sums, squares : (G, features) sums of the vectors of a group and of their squares; None where not needed
    cells : (N, features) vectors of all cells, for medians only, sorted by group
    """

    average: Average
    unit: NDArray[np.int_]
    counts: NDArray[np.int_]
    sums: NDArray[np.floating] | None = None
    squares: NDArray[np.floating] | None = None
    cells: NDArray[np.float32] | None = None

    @property
    def units(self) -> int:
        return int(self.unit.max(initial=-1)) + 1

    def one_block(self, among: NDArray[np.bool_] | None = None) -> float:
        """Share of units (of those `among`, (units,)) with one group only: every resample of these is the same."""
        single = np.bincount(self.unit, minlength=self.units) == 1
        single = single if among is None else single[among]
        return float(single.mean()) if len(single) else 0.0

    def vectors(self, times: NDArray[np.int_] | None = None) -> NDArray[np.float32]:
        """(units, features), each group taken as often as `times` (G,) says; once where it is None."""
        weight = np.ones(len(self.unit)) if times is None else np.asarray(times, float)
        if self.cells is not None:
            return self._medians(weight.astype(int))
        assert self.sums is not None
        pool = sparse.csr_array((weight, (self.unit, np.arange(len(weight)))), shape=(self.units, len(weight)))
        means = (pool @ self.sums) / np.maximum(pool @ self.counts, 1)[:, None]
        if self.squares is None:
            return means.astype(np.float32)
        # Within groups, because most of what looks like variation between cells lies between fields.
        inside = np.maximum(self.squares - self.sums**2 / np.maximum(self.counts, 1)[:, None], 0)
        freedom = (pool @ (self.counts - 1))[:, None]
        spread = np.sqrt((pool @ inside) / np.where(freedom > 0, freedom, np.nan))
        unknown = np.isnan(spread).all(axis=1)
        spread[unknown] = np.median(spread[~unknown], axis=0) if not unknown.all() else 0
        between, other = means.var(axis=0).sum(), spread.var(axis=0).sum()
        scale = np.sqrt(SPREAD_SHARE / (1 - SPREAD_SHARE) * between / other) if other > 0 else 0
        return np.hstack([means, scale * spread]).astype(np.float32)

    def _medians(self, times: NDArray[np.int_]) -> NDArray[np.float32]:
        assert self.cells is not None
        ends = np.cumsum(self.counts)
        first = np.searchsorted(self.unit, np.arange(self.units + 1))
        result = np.zeros((self.units, self.cells.shape[1]), np.float32)
        for row in range(self.units):
            rows = [
                np.arange(ends[group] - self.counts[group], ends[group])
                for group in range(first[row], first[row + 1])
                for _ in range(times[group])
            ]
            result[row] = np.median(np.asarray(self.cells[np.concatenate(rows)], np.float64), axis=0)
        return result

    def resample(self, rng: np.random.Generator) -> NDArray[np.int_]:
        """How often each group is drawn when as many as a unit has are drawn from it, with replacement."""
        sizes = np.bincount(self.unit, minlength=self.units)
        first = np.cumsum(sizes) - sizes
        drawn = first[self.unit] + (rng.random(len(self.unit)) * sizes[self.unit]).astype(int)
        return np.bincount(drawn, minlength=len(self.unit))


def collect(cells: Any, unit: NDArray[np.int_], group: NDArray[np.int_], average: Average) -> Summaries:
    """Read all cells once and keep what the vectors of units need.

    Parameters
    ----------
    cells : X (N, features), in memory or backed by its file, as AnnData has it
    unit : (N,) unit of each cell, from 0, -1 for cells that are left out
    group : (N,) any number that is the same for cells of one well or field
    average : mean, median, or mean_and_spread: the mean and, beside it, the standard deviation of the cells of a group

    Returns
    -------
    `Summaries`; groups sorted by unit, then by number
    """
    taken = np.flatnonzero(unit >= 0)
    pairs, codes = np.unique(np.column_stack([unit[taken], group[taken]]), axis=0, return_inverse=True)
    codes = codes.ravel()
    counts = np.bincount(codes, minlength=len(pairs))
    if average == "median":
        order = np.argsort(codes, kind="stable")
        rows = np.zeros((len(taken), cells.shape[1]), np.float32)
        place = np.full(len(unit), -1)
        place[taken[order]] = np.arange(len(taken))
        for start, stop in _blocks(len(unit), cells.shape[1]):
            here = np.flatnonzero(place[start:stop] >= 0)
            rows[place[start + here]] = np.asarray(cells[start:stop])[here]
        return Summaries(average, pairs[:, 0], counts, cells=rows)
    number = np.full(len(unit), -1)
    number[taken] = codes
    sums = np.zeros((len(pairs), cells.shape[1]))
    squares = np.zeros_like(sums) if average == "mean_and_spread" else None
    for start, stop in _blocks(len(unit), cells.shape[1]):
        here = np.flatnonzero(number[start:stop] >= 0)
        groups, position = np.unique(number[start + here], return_inverse=True)
        # Sums in float64, block by block, so that a file larger than memory can be averaged.
        block = np.asarray(cells[start:stop], np.float64)[here]
        pool = sparse.csr_array((np.ones(len(here)), (position, np.arange(len(here)))), shape=(len(groups), len(here)))
        sums[groups] += pool @ block
        if squares is not None:
            squares[groups] += pool @ block**2
    return Summaries(average, pairs[:, 0], counts, sums, squares)


def _blocks(rows: int, features: int) -> list[tuple[int, int]]:
    size = max(1, BLOCK_BYTES // (8 * max(1, features)))
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]
