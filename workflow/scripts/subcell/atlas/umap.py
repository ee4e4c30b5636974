"""Two dimensions for the eye."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subcell.atlas.graph import fuzzy_graph
from subcell.atlas.leiden import as_network

NEIGHBORS = 125
MIN_DIST = 0.5
SPREAD = 0.6
"""The paper's settings."""

EPOCHS = 500
FEWEST = 5
COMPILED_FROM = 1500
"""Above this many points umap-learn is the faster one; below, compiling it takes longer than the whole layout."""


def umap_layout(vectors: NDArray[np.floating], *, seed: int, neighbors: int = NEIGHBORS) -> NDArray[np.float32]:
    """Lay points out in the plane with UMAP.

    Parameters
    ----------
    vectors : (N, features)
    seed : of the layout
    neighbors : neighbours of a point; at most N - 1 are taken

    Returns
    -------
    (N, 2) positions around 0; with fewer than five points, which have no neighbourhoods to keep, the first two
    principal components
    """
    if len(vectors) < FEWEST:
        return _principal_components(vectors)
    if len(vectors) >= COMPILED_FROM:
        positions = _umap_learn(vectors, seed=seed, neighbors=neighbors)
    else:
        positions = _igraph_umap(vectors, seed=seed, neighbors=neighbors)
    return np.asarray(positions - positions.mean(axis=0), np.float32)


def _igraph_umap(vectors: NDArray[np.floating], *, seed: int, neighbors: int) -> NDArray[Any]:
    import igraph

    network = as_network(fuzzy_graph(vectors, neighbors))
    start = _principal_components(vectors)
    start = 10 * start / max(float(np.abs(start).max()), 1e-12)
    igraph.set_random_number_generator(random.Random(seed))
    try:
        # igraph has no `spread`; a curve with (min_dist, spread) is the one with (min_dist / spread, 1), stretched.
        layout = network.layout_umap(
            weights=network.es["weight"], seed=start.tolist(), min_dist=MIN_DIST / SPREAD, epochs=EPOCHS
        )
    finally:
        igraph.set_random_number_generator(random)
    return SPREAD * np.array(layout.coords)


def _umap_learn(vectors: NDArray[np.floating], *, seed: int, neighbors: int) -> NDArray[Any]:
    from umap import UMAP

    return UMAP(
        n_neighbors=min(neighbors, len(vectors) - 1), min_dist=MIN_DIST, spread=SPREAD, random_state=seed, n_jobs=1
    ).fit_transform(vectors)


def _principal_components(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """First two principal components, signs fixed by the largest entry; zeros where there are fewer."""
    positions = np.zeros((len(vectors), 2), np.float32)
    if len(vectors) < 2:
        return positions
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    values, axes = np.linalg.eigh(centred @ centred.T)
    for column, which in enumerate((-1, -2)):
        axis = axes[:, which] * np.sqrt(max(values[which], 0))
        positions[:, column] = axis * np.sign(axis[np.abs(axis).argmax()] or 1)
    return positions
