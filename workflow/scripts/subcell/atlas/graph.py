"""The neighbour graph on which a map is clustered and drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

BISECTIONS = 64
BLOCK_BYTES = 2**27
SMALLEST_SCALE = 1e-3
"""UMAP's floor of a point's scale, as a share of its mean distance: duplicates would otherwise get a scale of 0."""


def fuzzy_graph(vectors: NDArray[np.floating], neighbors: int) -> sparse.csr_array:
    """Weighted graph of nearest neighbours, UMAP's fuzzy union.

    Neighbours are exact: with matrix products that is faster than approximate search up to some 100,000 points, and
    needs no compilation.

    Parameters
    ----------
    vectors : (N, features)
    neighbors : neighbours of a point, itself not counted; at most N - 1 are taken

    Returns
    -------
    (N, N) symmetric, weights in (0, 1]; scanpy's `connectivities` with method "umap" and one neighbour more, as there
    a point counts as its own neighbour (McInnes et al. 2018, arXiv:1802.03426, algorithms 2 and 3)
    """
    points = len(vectors)
    neighbors = min(neighbors, points - 1)
    if neighbors < 1:
        return sparse.csr_array((points, points))
    distances, indices = nearest_neighbors(vectors, neighbors)
    weights = local_weights(distances)
    starts = np.arange(0, points * neighbors + 1, neighbors)
    directed = sparse.csr_array((weights.ravel(), indices.ravel(), starts), shape=(points, points))
    mirrored = directed.T.tocsr()
    graph = directed + mirrored - directed.multiply(mirrored)
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def nearest_neighbors(vectors: NDArray[np.floating], neighbors: int) -> tuple[NDArray[np.floating], NDArray[np.int_]]:
    """Exact Euclidean neighbours, the point itself left out; equal distances in the order of the rows.

    Parameters
    ----------
    vectors : (N, features)
    neighbors : at most N - 1

    Returns
    -------
    distances, indices : (N, neighbors), ascending by distance
    """
    # Centred, so that a large common offset does not eat the digits in which points differ.
    points = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    squares = np.einsum("ij,ij->i", points, points)
    count = len(points)
    distances, indices = np.empty((count, neighbors)), np.empty((count, neighbors), int)
    block = max(1, BLOCK_BYTES // (8 * count))
    for start in range(0, count, block):
        rows = np.arange(start, min(start + block, count))
        table = squares[rows, None] + squares[None, :] - 2 * points[rows] @ points.T
        table[np.arange(len(rows)), rows] = np.inf
        nearest = np.sort(np.argpartition(table, neighbors - 1, axis=1)[:, :neighbors], axis=1)
        values = np.take_along_axis(table, nearest, axis=1)
        order = np.argsort(values, axis=1, kind="stable")
        indices[rows] = np.take_along_axis(nearest, order, axis=1)
        distances[rows] = np.sqrt(np.maximum(np.take_along_axis(values, order, axis=1), 0))
    return distances, indices


def local_weights(distances: NDArray[np.floating]) -> NDArray[np.floating]:
    """Weights of a point's neighbours: exp(-(d - rho) / sigma), rho its smallest distance above 0, sigma such that
    the weights sum to log2(neighbours + 1).

    Parameters
    ----------
    distances : (N, neighbours), ascending
    """
    target = np.log2(distances.shape[1] + 1)
    above = np.where(distances > 0, distances, np.inf)
    nearest = above.min(axis=1, keepdims=True)
    excess = np.maximum(distances - np.where(np.isfinite(nearest), nearest, 0), 0)
    low, high = np.zeros((len(distances), 1)), np.full((len(distances), 1), np.inf)
    scale = np.ones((len(distances), 1))
    for _ in range(BISECTIONS):
        too_wide = np.exp(-excess / scale).sum(axis=1, keepdims=True) > target
        high = np.where(too_wide, scale, high)
        low = np.where(too_wide, low, scale)
        scale = np.where(np.isfinite(high), (low + high) / 2, scale * 2)
    floor = SMALLEST_SCALE * distances.mean(axis=1, keepdims=True)
    return np.exp(-excess / np.maximum(scale, np.where(floor > 0, floor, 1.0)))
