"""Leiden clusters of one graph, and how two partitions of the same points overlap."""

from __future__ import annotations

import random

import igraph
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

ITERATIONS = 2
"""Passes of the algorithm in one run; the paper's number."""


def as_network(graph: sparse.csr_array) -> igraph.Graph:
    """The upper triangle of a symmetric matrix as a weighted undirected graph."""
    upper = sparse.triu(graph, k=1).tocoo()
    network = igraph.Graph(n=graph.shape[0], edges=np.column_stack(upper.coords))
    network.es["weight"] = upper.data
    return network


def run_leiden(network: igraph.Graph, resolution: float, seed: int) -> NDArray[np.int_]:
    """One run of Leiden on modularity; clusters numbered from the largest, ties by their first point.

    Returns
    -------
    (N,) cluster of each point
    """
    if network.vcount() == 0:
        return np.zeros(0, int)
    igraph.set_random_number_generator(random.Random(seed))
    try:
        found = network.community_leiden(
            objective_function="modularity", weights="weight", resolution=resolution, n_iterations=ITERATIONS
        )
    finally:
        igraph.set_random_number_generator(random)
    return by_size(np.asarray(found.membership))


def by_size(labels: NDArray[np.int_]) -> NDArray[np.int_]:
    """The same clusters numbered from the largest, ties by their first point."""
    _, first, codes, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), int)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[codes]


def overlap_table(labels: NDArray[np.int_], others: NDArray[np.int_]) -> sparse.csr_array:
    """Points that each cluster of one partition shares with each of another, (clusters, other clusters)."""
    shape = (labels.max(initial=-1) + 1, others.max(initial=-1) + 1)
    return sparse.coo_array((np.ones(len(labels)), (labels, others)), shape=shape).tocsr()


def best_overlaps(labels: NDArray[np.int_], others: NDArray[np.int_]) -> NDArray[np.floating]:
    """Largest Jaccard overlap of each cluster of `labels` with any cluster of `others`."""
    shared = overlap_table(labels, others).tocoo()
    sizes, other_sizes = np.bincount(labels), np.bincount(others)
    rows, columns = shared.coords
    jaccard = shared.data / (sizes[rows] + other_sizes[columns] - shared.data)
    best = np.zeros(len(sizes))
    np.maximum.at(best, rows, jaccard)
    return best


def largest_parents(labels: NDArray[np.int_], before: NDArray[np.int_]) -> NDArray[np.int_]:
    """The cluster of `before` that holds most points of each cluster of `labels`; the larger one where two tie."""
    return np.asarray(overlap_table(labels, before).toarray().argmax(axis=1), int)


def adjusted_rand(labels: NDArray[np.int_], others: NDArray[np.int_]) -> float:
    """Adjusted Rand index of two partitions; 1 where they are the same, also where both are one cluster."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(labels, others))
