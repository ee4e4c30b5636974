"""How far clusters hold: over seeds, over resampled wells or fields, and in held-out antibodies alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

import igraph
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.preprocessing import StandardScaler

from subcell.atlas.clusters.graph import FEWEST, neighbour_graph
from subcell.atlas.clusters.hierarchy import Level, Partitions, Step, partition
from subcell.atlas.clusters.leiden import adjusted_rand, as_network, best_overlaps, overlap_table
from subcell.atlas.units.summaries import Summaries

Kind = Literal["seed", "bootstrap", "held_out"]
Progress = Callable[..., Iterable[Any]]

FEWEST_HELD_OUT = 3
"""A cluster with fewer held-out members says nothing about them."""

MOST_ONE_BLOCK = 0.5
"""Share of units with a single field (or well) from which a resample is so much the map again that it says nothing."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """What every run starts from.

    Attributes
    ----------
    graph : weights between all points, made once
    points : (N, features)
    summaries : what the points can be made of again; None where they are given as they are
    scaled : whether features were brought to unit variance
    steps, nested : see `subcell.atlas.clusters.hierarchy.partition`
    held_out : (N,) points whose antibodies no model learned from
    seed : from which all runs derive theirs
    """

    graph: sparse.csr_array
    points: NDArray[np.floating]
    summaries: Summaries | None
    scaled: bool
    steps: tuple[Step, ...]
    nested: bool
    held_out: NDArray[np.bool_]
    seed: int

    def run(self, kind: Kind, number: int, kept: Kept) -> Partitions:
        """One run; the same number gives the same result, in any process and order."""
        # Resamples too have seeds of their own: with the map's, a unit that cannot be resampled would never move.
        seed = self.seed + 1 + number
        if kind == "seed":
            kept.open(self)
            graph = self.graph if kept.network is None else kept.network
            return partition(graph, self.points, self.steps, seed, nested=self.nested, graphs=kept.graphs)
        assert self.summaries is not None
        times = self.summaries.resample(np.random.default_rng([self.seed, number]))
        points = self.summaries.vectors(times)
        if self.scaled:
            points = StandardScaler().fit_transform(points)
        rows = np.arange(len(points)) if kind == "bootstrap" else np.flatnonzero(self.held_out)
        share = len(rows) / len(points)
        # Among fewer points the same neighbourhood has fewer neighbours.
        steps = [Step(step.resolution, max(FEWEST, round(step.neighbors * share))) for step in self.steps]
        if share == 1:
            steps = list(self.steps)
        points = np.asarray(points[rows], np.float32)
        graph = points[:, :0] if self.nested else neighbour_graph(points, max(s.neighbors for s in steps), self.seed)
        found = np.full((len(steps), len(self.points)), -1)
        found[:, rows] = partition(graph, points, steps, seed, nested=self.nested)
        return found


@dataclass
class Kept:
    """What a process keeps between the runs of one problem."""

    of: tuple[float, ...] = ()
    network: igraph.Graph | None = None
    graphs: dict[str, sparse.csr_array] = field(default_factory=dict)

    def open(self, problem: Problem) -> None:
        """Forget what belongs to another problem, and make the network of this one."""
        mark = (*problem.graph.shape, problem.graph.nnz, float(problem.graph.data.sum()), float(problem.points.sum()))
        if self.of == mark:
            return
        self.of, self.graphs = mark, {}
        self.network = None if problem.nested else as_network(problem.graph)


_here = Kept()


def _run_in_worker(problem: Problem, kind: Kind, number: int) -> Partitions:
    return problem.run(kind, number, _here)


def plainly(items: Iterable[Any], **_: Any) -> Iterable[Any]:
    return items


def run_all(
    problem: Problem, kind: Kind, runs: int, *, workers: int = 1, progress: Progress = plainly
) -> list[Partitions]:
    """Do runs side by side; what comes back depends neither on the number of workers nor on who is done first.

    Parameters
    ----------
    problem, kind, runs : what is run, and how often
    workers : processes
    progress : passes finished runs through and may say how far it is

    Returns
    -------
    (levels, N) a run, in order; none where there is nothing to resample, more than `MOST_ONE_BLOCK` of the units have one
    field or well only, or too few points are held out
    """
    if kind != "seed" and (problem.summaries is None or not runs):
        return []
    if kind == "held_out" and not FEWEST <= problem.held_out.sum() < len(problem.held_out):
        return []
    if kind != "seed" and problem.summaries is not None:
        single = problem.summaries.one_block(problem.held_out if kind == "held_out" else None)
        if single > MOST_ONE_BLOCK:
            log.warning(
                "%s runs are left out: %.0f %% of the units have one field or well, so a resample would repeat the map; "
                "`map.resample: field` may have more to draw from",
                kind.replace("_", "-"),
                100 * single,
            )
            return []
    if workers == 1 or runs < 2:
        kept = Kept()
        done: Iterable[Partitions] = (problem.run(kind, number, kept) for number in range(runs))
    else:
        from joblib import Parallel, delayed

        if kind == "seed":  # these need neither, and every process would get them
            few = problem.points if problem.nested else problem.points[:, :0]
            problem = replace(problem, summaries=None, points=few)
        # loky starts clean processes, and does not run the main script again in each.
        pool = Parallel(n_jobs=min(workers, runs), backend="loky", return_as="generator", batch_size=1)
        done = pool(delayed(_run_in_worker)(problem, kind, number) for number in range(runs))
    return list(progress(done, total=runs, desc=f"{kind.replace('_', '-')} runs"))


@dataclass(frozen=True)
class Stability:
    """What runs say about the clusters of one level.

    Attributes
    ----------
    clusters : (clusters,) mean over runs of the largest Jaccard overlap that a cluster has there; nan without runs
    ari_between : mean adjusted Rand index of all pairs of runs; nan with fewer than two
    ari_to_map : mean adjusted Rand index of the runs to the clusters of the map
    """

    clusters: NDArray[np.floating]
    ari_between: float
    ari_to_map: float


def measure(level: Level, number: int, runs: Sequence[Partitions]) -> Stability:
    """Compare the clusters of level `number` (from 0) with those of runs, over the points that a run has."""
    overlaps = []
    to_map = []
    for run in runs:
        there = run[number] >= 0
        ours, theirs = level.labels[there], run[number][there]
        found = np.full(level.clusters, np.nan)
        sizes = np.bincount(ours, minlength=level.clusters)
        best = best_overlaps(ours, theirs)
        found[: len(best)] = best
        found[sizes < (1 if there.all() else FEWEST_HELD_OUT)] = np.nan
        overlaps.append(found)
        to_map.append(adjusted_rand(ours, theirs))
    if not runs:
        return Stability(np.full(level.clusters, np.nan), float("nan"), float("nan"))
    pairs = [
        adjusted_rand(one[number][one[number] >= 0], other[number][other[number] >= 0])
        for one, other in combinations(runs, 2)
    ]
    between = float(np.mean(pairs)) if pairs else float("nan")
    return Stability(np.mean(overlaps, axis=0), between, float(np.mean(to_map)))


def consensus(level: Level, number: int, runs: Sequence[Partitions]) -> tuple[NDArray[np.int_], NDArray[np.floating]]:
    """Consensus of runs over a level: each run's clusters are matched one to one with the map's, and each point votes.

    Returns
    -------
    labels : (N,) cluster with most votes of a point; the map's own counts as one more vote
    share : (N,) share of the runs in which a point is where the map has it; nan without runs
    """
    points = np.arange(len(level.labels))
    votes = np.zeros((len(points), level.clusters))
    votes[points, level.labels] += 1
    for run in runs:
        shared = overlap_table(level.labels, run[number]).toarray()
        ours, theirs = linear_sum_assignment(-shared)
        match = np.full(shared.shape[1], -1)
        match[theirs] = np.where(shared[ours, theirs] > 0, ours, -1)
        voted = match[run[number]]
        votes[points[voted >= 0], voted[voted >= 0]] += 1
    own = votes[points, level.labels] - 1
    # The map's own label wins a tie.
    votes[points, level.labels] += 0.5
    share = own / len(runs) if runs else np.full(len(points), np.nan)
    return votes.argmax(axis=1), share
