"""Hypergeometric chances of many counts, and their correction when pairs without a hit are not listed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom


def at_least(hits: ArrayLike, population: ArrayLike, marked: ArrayLike, drawn: ArrayLike) -> NDArray[np.floating]:
    """Chance of at least `hits` marked ones among those drawn, each different combination computed once."""
    rows = np.stack(np.broadcast_arrays(*(np.asarray(v, int) for v in (hits, population, marked, drawn))), axis=-1)
    different, back = np.unique(rows.reshape(-1, 4), axis=0, return_inverse=True)
    chance = hypergeom.sf(different[:, 0] - 1, different[:, 1], different[:, 2], different[:, 3])
    return np.clip(chance, 0, 1)[back.ravel()].reshape(rows.shape[:-1])


def adjust(p_values: NDArray[np.floating], tests: int) -> NDArray[np.floating]:
    """Benjamini-Hochberg q-values among `tests` tests, of which those that are not given have a p-value of 1."""
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * tests / np.arange(1, len(p_values) + 1)
    q_values = np.empty(len(p_values))
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q_values
