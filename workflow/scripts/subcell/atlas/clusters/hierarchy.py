"""Levels of clusters: at given resolutions, as the paper nests them, or where a ladder of resolutions is stable."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import igraph
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from subcell.atlas.clusters.graph import FEWEST, neighbour_graph
from subcell.atlas.clusters.leiden import adjusted_rand, as_network, by_size, largest_parents, overlap_table, run_leiden

Method = Literal["resolutions", "paper", "ladder"]

PAPER_STEPS = ((0.0, 125), (0.15, 100), (0.2, 90), (0.25, 55), (0.30, 40), (0.33, 25), (0.36, 10))
"""Resolution and neighbours of each level of SubCell's map of 9,543 proteins."""

SAME = 0.9
"""Adjusted Rand index from which partitions at neighbouring resolutions count as one plateau."""

REPEATED = 0.75
"""Agreement between seeds from which a resolution beside the plateaus makes a level of its own."""

FINER = 2.0
"""Factor by which the numbers of clusters of such a level and of any other differ at least."""

MOST_GRAPHS = 64
"""Graphs of parents that are kept, because most runs of the nested method meet the same upper levels."""

Partitions = NDArray[np.int_]
"""(levels, N) cluster of each point at each level; -1 for points that a run leaves out."""


@dataclass(frozen=True)
class Step:
    """What one level is found with: Leiden's resolution, and neighbours, the point itself not counted."""

    resolution: float
    neighbors: int


@dataclass(frozen=True)
class Level:
    """Clusters at one level.

    Attributes
    ----------
    step : what they were found with
    labels : (N,) cluster of each point, from 0, the largest cluster first
    parents : (clusters,) the cluster of the level before that holds most of a cluster's points; -1 at the first level
    containment : (clusters,) share of a cluster's points that its parent holds; nan at the first level
    """

    step: Step
    labels: NDArray[np.int_]
    parents: NDArray[np.int_]
    containment: NDArray[np.floating]

    @property
    def clusters(self) -> int:
        return len(self.parents)


def paper_steps(steps: Sequence[tuple[float, int]] = PAPER_STEPS) -> list[Step]:
    """Steps as the paper counts neighbours: scanpy's number, which includes the point itself."""
    return [Step(float(resolution), int(neighbors) - 1) for resolution, neighbors in steps]


def partition(
    graph: sparse.csr_array | igraph.Graph,
    points: NDArray[np.floating],
    steps: Sequence[Step],
    seed: int,
    *,
    nested: bool = False,
    graphs: dict[str, sparse.csr_array] | None = None,
) -> Partitions:
    """One run of all levels.

    Parameters
    ----------
    graph : weights between the points, of which all levels are clusters; not used where `nested`
    points : (N, features), of which the graphs of parents are made where `nested`
    steps : one a level
    seed : of Leiden
    nested : cluster each cluster of the level before by itself, on a graph of its own points with the neighbours of the
        level, as the paper does; one with no more points than that stays whole
    graphs : graphs of parents that were made before; new ones are added

    Returns
    -------
    (levels, N)
    """
    if not nested:
        network = graph if isinstance(graph, igraph.Graph) else as_network(graph)
        found = [run_leiden(network, step.resolution, seed) for step in steps]
        return np.array(found, int).reshape(len(steps), -1)
    kept = {} if graphs is None else graphs
    labels = np.zeros(len(points), int)
    levels = []
    for step in steps:
        finer = np.zeros(len(points), int)
        for parent in range(labels.max(initial=-1) + 1):
            rows = np.flatnonzero(labels == parent)
            first = finer.max(initial=0) + 1
            finer[rows] = first
            if len(rows) > max(step.neighbors, FEWEST - 1):
                finer[rows] += run_leiden(_parent_network(points, rows, step, kept), step.resolution, seed)
        labels = by_size(finer)
        levels.append(labels)
    return np.array(levels, int).reshape(len(steps), -1)


def _parent_network(
    points: NDArray[np.floating], rows: NDArray[np.int_], step: Step, kept: dict[str, sparse.csr_array]
) -> igraph.Graph:
    key = f"{hashlib.sha256(rows.tobytes()).hexdigest()} {step.neighbors}"
    if key not in kept:
        if len(kept) >= MOST_GRAPHS:
            kept.pop(next(iter(kept)))
        kept[key] = neighbour_graph(points[rows], step.neighbors, 0)
    return as_network(kept[key])


def link_levels(partitions: Partitions, steps: Sequence[Step]) -> list[Level]:
    """Find the parent of every cluster in the level before, by containment."""
    levels: list[Level] = []
    for labels, step in zip(partitions, steps, strict=True):
        clusters = labels.max(initial=-1) + 1
        parents, containment = np.full(clusters, -1), np.full(clusters, np.nan)
        if levels:
            parents = largest_parents(labels, levels[-1].labels)
            shared = overlap_table(labels, levels[-1].labels).toarray()
            containment = shared[np.arange(clusters), parents] / np.bincount(labels)
        levels.append(Level(step, labels, parents, containment))
    return levels


def choose_plateaus(
    partitions: Partitions, others: Sequence[Partitions], *, most: int
) -> tuple[list[int], list[float]]:
    """Find the resolutions that stand for plateaus of stability on a ladder of rising resolutions.

    A plateau is a stretch of neighbouring resolutions whose partitions are the same up to `SAME`. It is the longer
    stretch, weighted by how well runs with other seeds agree there, that makes a level; one cluster makes none. Where
    clusters are small, each rung splits some of them and no two are the same, though every seed finds the same ones: so
    wherever levels are more than `FINER` apart in their number of clusters, the resolution on which seeds agree best
    makes one too, from `REPEATED` on.

    Parameters
    ----------
    partitions : (R, N) one partition a resolution
    others : runs of the same ladder with other seeds
    most : levels to choose at most

    Returns
    -------
    rows of the chosen resolutions, rising, and (R,) agreement between seeds
    """
    rungs = len(partitions)
    agreement = [
        float(np.mean([adjusted_rand(partitions[rung], other[rung]) for other in others])) if others else 1.0
        for rung in range(rungs)
    ]
    trivial = partitions.max(axis=1, initial=0) == 0
    stretches: list[list[int]] = []
    for rung in np.flatnonzero(~trivial):
        joined = stretches and stretches[-1][-1] == rung - 1
        if joined and adjusted_rand(partitions[rung - 1], partitions[rung]) >= SAME:
            stretches[-1].append(int(rung))
        else:
            stretches.append([int(rung)])
    if not stretches:
        return [0], agreement
    weights = [len(stretch) * np.mean([agreement[rung] for rung in stretch]) for stretch in stretches]
    lasting = [i for i, stretch in enumerate(stretches) if len(stretch) > 1] or [int(np.argmax(weights))]
    longest = sorted(sorted(lasting, key=lambda i: (-weights[i], i))[:most])
    chosen = []
    for i in longest:
        inside = [np.mean([adjusted_rand(partitions[rung], partitions[other]) for other in stretches[i]])
                  for rung in stretches[i]]  # fmt: skip
        middle = max(range(len(inside)), key=lambda k: (round(inside[k] + agreement[stretches[i][k]], 9), -k))
        chosen.append(stretches[i][middle])
    counts = partitions.max(axis=1, initial=0) + 1
    for rung in sorted(np.flatnonzero(~trivial), key=lambda rung: (-round(agreement[rung], 9), rung)):
        apart = all(max(counts[rung], counts[i]) >= FINER * min(counts[rung], counts[i]) for i in chosen)
        if others and apart and agreement[rung] >= REPEATED and len(chosen) < most:
            chosen.append(int(rung))
    return sorted(chosen), agreement


def persistence(labels: NDArray[np.int_], partitions: Partitions, *, jaccard: float = 0.75) -> NDArray[np.floating]:
    """Share of the rungs of a ladder at which each cluster of `labels` is found again, as in HiDeF."""
    from subcell.atlas.clusters.leiden import best_overlaps

    return np.mean([best_overlaps(labels, rung) >= jaccard for rung in partitions], axis=0)
