"""What is beside the MLP: a linear probe and nearest neighbours, which have little to tune and nothing random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from subcell.benchmarks.statistics.metrics import macro_ap

PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4)
NEIGHBORS = 15
MOST_REFERENCES = 50_000
"""Training cells among which neighbours are looked for; of more, every n-th."""


def linear_probe(
    features: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    train: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    test: NDArray[np.bool_],
    penalties: Sequence[float] = PENALTIES,
) -> NDArray[np.float32]:
    """Ridge regression on the classes; the penalty is the one with the best macro AP of the validation rows.

    Parameters
    ----------
    features : (N, D) standardised
    truth : (N, C)
    train, valid, test : (N,) rows

    Returns
    -------
    (test rows, C) scores, higher is surer
    """
    from sklearn.linear_model import Ridge

    once = np.ones((1, int(valid.sum())))
    targets = truth[train].astype(np.float32)

    def fitted(penalty: float) -> Ridge:
        return Ridge(alpha=penalty, solver="cholesky").fit(features[train], targets)

    if len(penalties) == 1 or not truth[valid].any():
        return np.asarray(fitted(penalties[0]).predict(features[test]), np.float32)
    fits = [fitted(penalty) for penalty in penalties]
    reached = [float(macro_ap(truth[valid], fit.predict(features[valid]), once)[0]) for fit in fits]
    return np.asarray(fits[int(np.argmax(reached))].predict(features[test]), np.float32)


def nearest_neighbors(
    features: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    neighbors: int = NEIGHBORS,
) -> NDArray[np.float32]:
    """Share of the nearest training cells (cosine) that have each class, each counted by its similarity.

    Parameters and result as in `linear_probe`.
    """
    from sklearn.neighbors import NearestNeighbors

    rows = np.flatnonzero(train)
    rows = rows[:: -(-len(rows) // MOST_REFERENCES)]
    references, asked = _unit_length(features[rows]), _unit_length(features[test])
    search = NearestNeighbors(n_neighbors=min(neighbors, len(rows)), algorithm="brute").fit(references)
    distances, found = search.kneighbors(asked)
    # Of vectors of length 1 the squared distance is 2 - 2 cosine.
    similarity = np.clip(1 - distances**2 / 2, 0, None) + 1e-6
    votes = np.einsum("nk,nkc->nc", similarity, truth[rows][found].astype(np.float32))
    return np.asarray(votes / similarity.sum(axis=1, keepdims=True), np.float32)


def _unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)
