"""Leiden clusters of one graph at rising resolutions, how stable they are, and how the levels hang together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import igraph
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

ITERATIONS = 2
"""Passes of the algorithm in one run; the paper's number."""


@dataclass(frozen=True)
class Level:
    """Clusters at one resolution.

    Attributes
    ----------
    resolution : Leiden's resolution
    labels : (N,) cluster of each point, from 0, the largest cluster first
    stability : (clusters,) mean over runs with other seeds of the largest Jaccard overlap that a cluster has there
    parents : (clusters,) the cluster of the level before that holds most of a cluster's points; -1 at the first level
    """

    resolution: float
    labels: NDArray[np.int_]
    stability: NDArray[np.floating]
    parents: NDArray[np.int_]


def cluster_levels(graph: sparse.csr_array, resolutions: Sequence[float], *, seeds: int, seed: int) -> list[Level]:
    """Cluster a graph at every resolution.

    Parameters
    ----------
    graph : (N, N) symmetric weights
    resolutions : rising, one a level
    seeds : runs with other seeds per level, from which the stability of clusters comes
    seed : of the run that is reported

    Returns
    -------
    a `Level` a resolution
    """
    network = as_network(graph)
    levels: list[Level] = []
    for resolution in resolutions:
        labels = run_leiden(network, resolution, seed)
        others = [run_leiden(network, resolution, seed + 1 + other) for other in range(seeds)]
        overlaps = [best_overlaps(labels, other) for other in others]
        parents = largest_parents(labels, levels[-1].labels) if levels else np.full(labels.max(initial=-1) + 1, -1)
        stability = np.mean(overlaps, axis=0) if overlaps else np.full(len(parents), np.nan)
        levels.append(Level(float(resolution), labels, stability, parents))
    return levels


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
    return _by_size(np.asarray(found.membership))


def _by_size(labels: NDArray[np.int_]) -> NDArray[np.int_]:
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
