"""Whether two tables of similarities of the same things agree: Mantel's test, exact for few things."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations as all_orders
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO = 8
"""Things of which all orders are tried: 40,320."""

BLOCK = 4096
"""Orders tried at a time."""


class Mantel(NamedTuple):
    """Outcome of a test.

    Attributes
    ----------
    r : Pearson's correlation of the similarities of all pairs; nan where a table is constant
    p : share of orders whose correlation is at least `r`; small where the tables agree
    orders : that were tried
    exact : whether those are all there are
    """

    r: float
    p: float
    orders: int
    exact: bool


def mantel(
    one: ArrayLike, other: ArrayLike, *, given: Sequence[ArrayLike] = (), permutations: int = 100_000, seed: int = 0
) -> Mantel:
    """Test whether two similarities agree more than if the things of one of them were named at random.

    Up to `EXACT_UP_TO` things all orders are tried and the test is exact; with more, `permutations` drawn ones, to which
    the given order is added (Phipson & Smyth 2010, doi 10.2202/1544-6115.1585). scikit-bio's test, with which the
    correlation agrees, only draws, and has no partial test.

    Parameters
    ----------
    one, other : (N, N) symmetric; the diagonal does not count
    given : similarities whose linear effect is taken out of both first, (N, N) each: the partial test of Smouse, Long and
        Sokal 1986 (doi 10.2307/2413122), which reorders what is left of `one`
    permutations : orders drawn where not all are tried
    seed : of the draws

    Raises
    ------
    ValueError : fewer than three things, or tables of different sizes
    """
    one, other = np.asarray(one, float), np.asarray(other, float)
    things = len(one)
    if one.shape != (things, things) or other.shape != one.shape or things < 3:
        raise ValueError(f"similarities of shape {one.shape} and {other.shape}; both must be (N, N), N at least 3")
    rows, columns = np.triu_indices(things, 1)
    pairs = [np.asarray(table, float)[rows, columns] for table in (one, other, *given)]
    left, right = (_residuals(values, pairs[2:]) for values in pairs[:2])
    if left is None or right is None:
        return Mantel(math.nan, math.nan, 0, things <= EXACT_UP_TO)
    table = np.zeros((things, things))
    table[rows, columns] = table[columns, rows] = left
    r = float(left @ right)
    exact = things <= EXACT_UP_TO
    reached = tried = 0
    for orders in _orders(things, permutations, seed):
        values = table[orders[:, rows], orders[:, columns]] @ right
        # The same sum in another order differs in its last digit.
        reached += int((values >= r - 1e-12).sum())
        tried += len(orders)
    return Mantel(r, reached / tried if exact else (reached + 1) / (tried + 1), tried, exact)


def cosines(vectors: ArrayLike) -> NDArray[np.floating]:
    """Cosine similarity of all pairs of rows, (N, N); a row of zeros is similar to nothing."""
    vectors = np.asarray(vectors, float)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


def principal_components(vectors: ArrayLike, most: int) -> NDArray[np.floating]:
    """Rows as z-scores of each column, then their leading principal components.

    Parameters
    ----------
    vectors : (N, D); columns without spread are left out
    most : components; never more than N - 2, beyond which cosines are fixed by N alone

    Returns
    -------
    (N, components)
    """
    vectors = np.asarray(vectors, float)
    spread = vectors.std(axis=0)
    kept = spread > 1e-9 * max(float(spread.max(initial=0)), 1e-30)
    if not kept.any():
        return np.zeros((len(vectors), 1))
    scaled = (vectors[:, kept] - vectors[:, kept].mean(axis=0)) / spread[kept]
    # Few rows and many columns: the products of rows hold all there is.
    values, directions = np.linalg.eigh(scaled @ scaled.T)
    number = max(1, min(most, len(vectors) - 2))
    return directions[:, ::-1][:, :number] * np.sqrt(np.maximum(values[::-1][:number], 0))


def _residuals(values: NDArray[np.floating], given: Sequence[NDArray[np.floating]]) -> NDArray[np.floating] | None:
    """What a line through `given` leaves of the values, of mean 0 and length 1; None where nothing is left."""
    known = np.column_stack([np.ones(len(values)), *given])
    left = values - known @ np.linalg.lstsq(known, values, rcond=None)[0]
    length = np.linalg.norm(left)
    return left / length if length > 1e-9 * max(float(np.linalg.norm(values)), 1e-30) else None


def _orders(things: int, permutations: int, seed: int) -> Iterator[NDArray[np.intp]]:
    if things <= EXACT_UP_TO:
        found = np.array(list(all_orders(range(things))), np.intp)
        yield from np.array_split(found, -(-len(found) // BLOCK))
        return
    rng = np.random.default_rng(seed)
    for start in range(0, permutations, BLOCK):
        rows = np.tile(np.arange(things), (min(BLOCK, permutations - start), 1))
        yield rng.permuted(rows, axis=1)
