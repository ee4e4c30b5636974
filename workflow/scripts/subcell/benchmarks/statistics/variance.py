"""How much of what differs between cells goes with their line, plate, antibody, well, field: variance components.

For two cells i and j that differ, the expectation of y_i y_j is the sum of the components of all factors that the two
share. So products of pairs of cells are regressed on which factors they share (Haseman-Elston regression, the same as
MINQUE(0) but for the diagonal). That needs sums over levels only, no pair is ever formed, and no distribution is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

REST = "cell"
"""What no factor explains: differences between cells of one field, and noise."""


@dataclass(frozen=True)
class Design:
    """Which factors a layout can tell apart.

    Attributes
    ----------
    factors : name -> (N,) level of each cell; a name joined by " = " stands for factors with the same levels
    confounded : why a factor has no component of its own, by name
    """

    factors: dict[str, NDArray[np.int_]]
    confounded: dict[str, str]


def design_of(columns: Mapping[str, pd.Series]) -> Design:
    """Factors whose components the layout can estimate.

    Parameters
    ----------
    columns : factor -> (N,) its level in each cell, the coarser factors first, as in {"line": ..., "plate": ..., "well": ...}

    Returns
    -------
    factors with the same levels are one; a factor with one level, with a level of its own for every cell, or that is a
    linear combination of earlier ones among pairs of cells, is left out and named
    """
    factors: dict[str, NDArray[np.int_]] = {}
    confounded: dict[str, str] = {}
    for name, values in columns.items():
        codes = pd.factorize(values)[0]
        levels = len(np.unique(codes))
        if levels < 2:
            confounded[name] = "it has one level"
            continue
        if levels == len(codes):
            confounded[name] = "every cell has its own"
            continue
        twin = next((other for other, known in factors.items() if _same_levels(codes, known)), None)
        if twin is not None:
            factors = {f"{other} = {name}" if other == twin else other: known for other, known in factors.items()}
            confounded[name] = f"it has the levels of {twin}: one component stands for both"
            continue
        if _rank_with(factors, codes) <= len(factors) + 1:
            confounded[name] = f"pairs of cells that share it are those that share {' and '.join(factors)}"
            continue
        factors[name] = codes
    return Design(factors, confounded)


def components(
    vectors: NDArray[np.floating],
    factors: Mapping[str, NDArray[np.int_]],
    units: NDArray[np.int_],
    counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Variance components, summed over the numbers of a vector, for many resamples of units.

    Parameters
    ----------
    vectors : (N, D), centred
    factors : name -> (N,) level of each cell
    units : (N,) number of the unit (antibody) of each cell
    counts : (B, U) how often each unit is drawn; cells of a unit drawn twice are not paired with themselves

    Returns
    -------
    (B, factors + 1) a component each in the order of `factors`, then `REST`; may be negative
    """
    codes = [np.zeros(len(vectors), int), *factors.values()]
    # Left sides: sums over pairs of y_i . y_j that share a factor; right sides: how many pairs share two factors.
    targets = np.stack([_pair_sums(vectors, levels, units, counts) for levels in codes], axis=1)
    ones = np.ones((len(vectors), 1))
    shared = np.empty((len(counts), len(codes), len(codes)))
    for i, one in enumerate(codes):
        for j, other in enumerate(codes[: i + 1]):
            both = _pair_sums(
                ones, pd.factorize(pd.Series(one.astype(np.int64) * (other.max() + 1) + other))[0], units, counts
            )
            shared[:, i, j] = shared[:, j, i] = both
    with np.errstate(divide="ignore", invalid="ignore"):
        solved = np.stack([_solved(matrix, target) for matrix, target in zip(shared, targets, strict=True)])
        weights = counts[:, units]
        total = (weights @ (vectors**2).sum(axis=1)) / weights.sum(axis=1)
    # The first is the intercept: the mean is estimated too.
    found = solved[:, 1:]
    return np.column_stack([found, total - solved.sum(axis=1)])


def shares(found: NDArray[np.floating], names: Sequence[str]) -> dict[str, NDArray[np.floating]]:
    """Components as shares of their sum, (B,) each; negative ones, which are estimates of nothing, count as 0."""
    kept = np.clip(found, 0, None)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = kept / kept.sum(axis=1, keepdims=True)
    return {name: part[:, number] for number, name in enumerate([*names, REST])}


def _pair_sums(
    vectors: NDArray[np.floating], levels: NDArray[np.int_], units: NDArray[np.int_], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum of y_i . y_j over ordered pairs i != j of the same level, (B,), where units count as often as they are drawn."""
    cells = pd.DataFrame({"unit": units, "level": levels})
    groups = cells.groupby(["unit", "level"], sort=True)
    place = groups.ngroup().to_numpy()
    sums = np.zeros((groups.ngroups, vectors.shape[1]))
    np.add.at(sums, place, vectors)
    first = groups.head(1).sort_values(["unit", "level"])
    of_unit, of_level = first["unit"].to_numpy(), first["level"].to_numpy()
    drawn = counts[:, of_unit].astype(float)
    squares = (sums**2).sum(axis=1)
    own = np.zeros(counts.shape[1])
    np.add.at(own, units, (vectors**2).sum(axis=1))
    # Of each level: (sum of all units)^2 less each unit with itself, which counts once and without each cell with itself.
    between = np.zeros(len(counts))
    order = np.argsort(of_level, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(of_level[order])) + 1):
        if len(rows) > 1:
            between += ((drawn[:, rows] @ sums[rows]) ** 2).sum(axis=1) - drawn[:, rows] ** 2 @ squares[rows]
    return np.asarray(between + drawn @ squares - counts @ own)


def _solved(matrix: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.floating]:
    # In a resample a factor may be gone; the shortest solution leaves it out.
    scale = np.sqrt(np.diag(matrix))
    scale = np.where(scale > 0, scale, 1)
    return np.asarray(np.linalg.lstsq(matrix / np.outer(scale, scale), target / scale, rcond=1e-9)[0] / scale)


def _same_levels(one: NDArray[np.int_], other: NDArray[np.int_]) -> bool:
    pairs = pd.DataFrame({"one": one, "other": other}).drop_duplicates()
    return not pairs["one"].duplicated().any() and not pairs["other"].duplicated().any()


def _rank_with(factors: Mapping[str, NDArray[np.int_]], codes: NDArray[np.int_]) -> int:
    """Rank of the equations of `components` with one more factor."""
    every = [np.zeros(len(codes), int), *factors.values(), codes]
    units, once = np.zeros(len(codes), int), np.ones((1, 1), np.int64)
    ones = np.ones((len(codes), 1))
    matrix = np.empty((len(every), len(every)))
    for i, one in enumerate(every):
        for j, other in enumerate(every):
            both = pd.factorize(pd.Series(one.astype(np.int64) * (other.max() + 1) + other))[0]
            matrix[i, j] = _pair_sums(ones, both, units, once)[0]
    scale = np.sqrt(np.where(np.diag(matrix) > 0, np.diag(matrix), 1))
    return int(np.linalg.matrix_rank(matrix / np.outer(scale, scale), tol=1e-6))
