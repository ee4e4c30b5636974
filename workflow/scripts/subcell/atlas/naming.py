"""What a cluster is: its most enriched location, and the units that stand for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, hypergeom

from subcell.atlas.units import split_locations

UNKNOWN = "no known location"


@dataclass(frozen=True)
class Enriched:
    """The location in which a cluster is richest.

    Attributes
    ----------
    location : "" where no member has a known location
    fraction : share of the members with known locations that have it
    background : share of all tested units that have it
    p_value : of at least as many by chance, hypergeometric
    q_value : the same, corrected for all clusters and locations of the level (Benjamini-Hochberg)
    """

    location: str
    fraction: float
    background: float
    p_value: float
    q_value: float

    @property
    def name(self) -> str:
        return f"{self.location} ({self.fraction:.0%})" if self.location else UNKNOWN


def enrich(labels: NDArray[np.int_], locations: Sequence[str | None]) -> list[Enriched]:
    """Find the most enriched location of each cluster of a level.

    The background is the tested units: those on the map whose locations are known, not the genome.

    Parameters
    ----------
    labels : (N,) cluster of each unit, from 0
    locations : (N,) ";" between several, None where unknown

    Returns
    -------
    one `Enriched` a cluster: that of the smallest p-value, then of the largest fraction, then of the first name
    """
    sets = [set(split_locations(label)) for label in locations]
    names = sorted(set().union(*sets))
    clusters = int(labels.max(initial=-1)) + 1
    known = np.array([bool(names_of_unit) for names_of_unit in sets], bool)
    has = np.array([[name in names_of_unit for name in names] for names_of_unit in sets], bool).reshape(len(sets), -1)
    if not known.any():
        return [Enriched("", float("nan"), float("nan"), float("nan"), float("nan"))] * clusters
    sizes = np.array([(known & (labels == cluster)).sum() for cluster in range(clusters)])
    hits = np.array([has[labels == cluster].sum(axis=0) for cluster in range(clusters)])
    totals = has.sum(axis=0)
    p_values = hypergeom.sf(hits - 1, int(known.sum()), totals[None, :], sizes[:, None])
    tested = hits > 0
    q_values = np.full(p_values.shape, np.nan)
    q_values[tested] = false_discovery_control(p_values[tested])
    found = []
    for cluster in range(clusters):
        candidates = np.flatnonzero(tested[cluster])
        if not len(candidates):
            found.append(Enriched("", float("nan"), float("nan"), float("nan"), float("nan")))
            continue
        fractions = hits[cluster] / sizes[cluster]
        # Rounded, because equal p-values may differ in their last digit.
        best = min(candidates, key=lambda i: (round(np.log(max(p_values[cluster, i], 1e-300)), 9), -fractions[i], i))
        found.append(
            Enriched(
                names[best],
                float(fractions[best]),
                float(totals[best] / known.sum()),
                float(p_values[cluster, best]),
                float(q_values[cluster, best]),
            )
        )
    return found


def nearest_to_centre(vectors: NDArray[np.floating], labels: NDArray[np.int_], *, most: int = 5) -> list[list[int]]:
    """Row numbers of the points of each cluster that lie nearest to its mean, the nearest first."""
    nearest = []
    for cluster in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == cluster)
        points = np.asarray(vectors[members], np.float64)
        distances = np.linalg.norm(points - points.mean(axis=0), axis=1)
        nearest.append([int(row) for row in members[np.argsort(distances.round(9), kind="stable")[:most]]])
    return nearest
