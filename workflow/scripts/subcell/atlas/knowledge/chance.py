"""Hypergeometric chances of many counts, and their correction when pairs without a hit are not listed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom


def at_least(hits: ArrayLike, population: ArrayLike, marked: ArrayLike, drawn: ArrayLike) -> NDArray[np.floating]:
    """Chance of at least `hits` marked ones among those drawn, each different combination computed once."""
    counts = np.broadcast_arrays(*(np.asarray(values, int) for values in (hits, population, marked, drawn)))
    code = np.zeros(counts[0].size, int)
    for values in counts:
        # Numbered anew each time, so that the product stays small.
        _, code = np.unique(code * (values.max(initial=0) + 1) + values.ravel(), return_inverse=True)
    _, first = np.unique(code, return_index=True)
    k, n, m, d = (values.ravel()[first] for values in counts)
    return np.clip(hypergeom.sf(k - 1, n, m, d), 0, 1)[code].reshape(counts[0].shape)


def adjust(p_values: NDArray[np.floating], tests: int) -> NDArray[np.floating]:
    """Benjamini-Hochberg q-values among `tests` tests, of which those that are not given have a p-value of 1."""
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * tests / np.arange(1, len(p_values) + 1)
    q_values = np.empty(len(p_values))
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q_values
