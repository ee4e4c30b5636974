"""How levels are found, and all runs that say how stable they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from subcell.atlas.clusters.hierarchy import (
    Level,
    Method,
    Partitions,
    Step,
    choose_plateaus,
    link_levels,
    paper_steps,
    partition,
    persistence,
)
from subcell.atlas.clusters.stability import Problem, Progress, Stability, consensus, measure, plainly, run_all
from subcell.atlas.units.summaries import Summaries

RANDOM_FEATURES = 50
"""Length of the vectors of the random control; neighbours among longer ones are no more alike."""

SWEEP = (0.05, 20.0)
"""Resolutions between which a nested map is compared with plain clusters of one graph, from a few to hundreds."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """Levels of a map with all that runs say of them.

    Attributes
    ----------
    levels : the map's own
    seeds, bootstraps, held_out : a `Stability` a level
    consensus : (levels, N) consensus of all runs over seeds and resamples
    unit_stability : (levels, N) share of these runs in which a unit is where the map has it
    one_block : share of units with one field or well only, which no resample changes; nan without summaries
    persistence : a (clusters,) a level: share of the rungs of a ladder that have the cluster; nan without a ladder
    curve : (P, N) partitions at rising resolutions, the map's levels among them; of a nested map the levels, then plain
        clusters of one graph at rising resolutions
    random_curve : (P, N) clusters of the same sizes among random vectors, see `random_clusters`
    resolutions, level_of : (P,) of `curve`; level from 1, None in between
    """

    levels: list[Level]
    seeds: list[Stability]
    bootstraps: list[Stability]
    held_out: list[Stability]
    consensus: Partitions
    unit_stability: NDArray[np.floating]
    one_block: float
    persistence: list[NDArray[np.floating]]
    curve: Partitions
    random_curve: Partitions
    resolutions: list[float]
    level_of: list[int | None]

    @property
    def labels(self) -> Partitions:
        return np.array([level.labels for level in self.levels])

    @property
    def random_labels(self) -> Partitions:
        return self.random_curve[[place for place, level in enumerate(self.level_of) if level is not None]]


def steps_of(
    method: Method,
    *,
    levels: Sequence[float],
    neighbors: int,
    paper_levels: Sequence[tuple[float, int]],
    ladder: Mapping[str, Any],
) -> list[Step]:
    """Steps of a method: given resolutions on one graph, the paper's pairs, or the rungs of a ladder."""
    if method == "paper":
        return paper_steps(paper_levels)
    if method == "ladder":
        rungs = np.geomspace(ladder["lowest"], ladder["highest"], ladder["rungs"])
        return [Step(float(f"{resolution:.4g}"), neighbors) for resolution in rungs]
    return [Step(float(resolution), neighbors) for resolution in sorted(levels)]


def find_levels(
    graph: sparse.csr_array,
    points: NDArray[np.floating],
    summaries: Summaries | None,
    steps: Sequence[Step],
    *,
    method: Method = "resolutions",
    most_levels: int = 8,
    seeds: int = 20,
    bootstraps: int = 20,
    held_out: NDArray[np.bool_] | None = None,
    scaled: bool = False,
    curve: int = 0,
    seed: int = 42,
    workers: int = 1,
    progress: Progress = plainly,
) -> Found:
    """Find the levels of a map and repeat them.

    Parameters
    ----------
    graph : (N, N) weights between the points; of the first step's neighbours where the method is `paper`
    points, summaries, scaled : see `subcell.atlas.clusters.stability.Problem`
    steps : see `steps_of`
    method, most_levels : of a ladder at most so many levels are chosen
    seeds, bootstraps : runs of each kind; as many resamples are clustered again of the held-out points alone
    held_out : (N,) points of antibodies that no model learned from
    curve : further resolutions at which agreement is measured: around the levels, or where those are nested, of one graph
        (`SWEEP`); a ladder has its rungs
    seed : of the map itself; runs derive theirs from it
    workers, progress : see `subcell.atlas.clusters.stability.run_all`
    """
    nested = method == "paper"
    apart = held_out if held_out is not None else np.zeros(len(points), bool)
    problem = Problem(graph, np.asarray(points, np.float32), summaries, scaled, tuple(steps), nested, apart, seed)
    own = partition(graph, problem.points, steps, seed, nested=nested)
    repeats = run_all(problem, "seed", seeds, workers=workers, progress=progress)
    chosen, rungs = list(range(len(steps))), own
    lasting = [np.full(labels.max(initial=-1) + 1, np.nan) for labels in own]
    grid = [step.resolution for step in steps]
    if method == "ladder":
        chosen, _ = choose_plateaus(own, repeats, most=most_levels)
        log.info("ladder: levels at resolutions %s", ", ".join(f"{grid[i]:g}" for i in chosen))
        lasting = [persistence(own[i], own) for i in chosen]
        own, repeats = own[chosen], [run[chosen] for run in repeats]
        steps = [steps[i] for i in chosen]
        problem = replace(problem, steps=tuple(steps))
    resampled = run_all(problem, "bootstrap", bootstraps, workers=workers, progress=progress)
    alone = run_all(problem, "held_out", bootstraps, workers=workers, progress=progress)
    levels = link_levels(own, steps)
    votes = [consensus(level, number, [*repeats, *resampled]) for number, level in enumerate(levels)]

    if method == "resolutions" and curve:
        between = np.geomspace(max(min(grid) / 2, 0.05), 2 * max(max(grid), 0.1), curve)
        grid = sorted({*grid, *(float(f"{resolution:.3g}") for resolution in between)})
        at = {step.resolution: labels for step, labels in zip(steps, own, strict=True)}
        new = [Step(resolution, steps[0].neighbors) for resolution in grid if resolution not in at]
        at |= {step.resolution: row for step, row in zip(new, partition(graph, points, new, seed), strict=True)}
        rungs = np.array([at[resolution] for resolution in grid])
        chosen = [grid.index(step.resolution) for step in steps]
    sweep = [Step(float(f"{r:.3g}"), steps[0].neighbors) for r in np.geomspace(*SWEEP, curve)] if nested else []
    if sweep:
        rungs = np.vstack([rungs, partition(graph, problem.points, sweep, seed)])
        grid += [step.resolution for step in sweep]
    level_of: list[int | None] = [None] * len(grid)
    for number, place in enumerate(chosen, start=1):
        level_of[place] = number
    return Found(
        levels=levels,
        seeds=[measure(level, number, repeats) for number, level in enumerate(levels)],
        bootstraps=[measure(level, number, resampled) for number, level in enumerate(levels)],
        held_out=[measure(level, number, alone) for number, level in enumerate(levels)],
        consensus=np.array([labels for labels, _ in votes]),
        unit_stability=np.array([share for _, share in votes]),
        one_block=summaries.one_block() if summaries is not None else float("nan"),
        persistence=lasting,
        curve=rungs,
        random_curve=np.array([random_clusters(labels, seed) for labels in rungs]),
        resolutions=grid,
        level_of=level_of,
    )


def random_vectors(points: int, seed: int) -> NDArray[np.float32]:
    """Vectors that know nothing of the units, (points, `RANDOM_FEATURES`)."""
    return np.random.default_rng([seed, 1]).normal(size=(points, RANDOM_FEATURES)).astype(np.float32)


def random_clusters(labels: NDArray[np.int_], seed: int) -> NDArray[np.int_]:
    """Clusters of neighbours among random vectors, as many and as large as those of a partition.

    At the map's resolutions Leiden leaves random vectors in one cluster where the map has several, and cuts them finer
    where it has many: shares of related pairs would then compare numbers of clusters.

    Parameters
    ----------
    labels : (N,) cluster of each point, from 0
    seed : of `random_vectors`

    Returns
    -------
    (N,) cluster of each point: the first point that is left and those nearest to it, cluster by cluster
    """
    vectors = random_vectors(len(labels), seed)
    found, left = np.empty(len(labels), int), np.arange(len(labels))
    for cluster, size in enumerate(np.bincount(labels)):
        distances = np.square(vectors[left] - vectors[left[:1]]).sum(axis=1)
        near = np.zeros(len(left), bool)
        near[np.argsort(distances, kind="stable")[:size]] = True
        found[left[near]] = cluster
        left = left[~near]
    return found
