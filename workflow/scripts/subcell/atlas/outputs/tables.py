"""Tables of a map: a row a cluster, a row a level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.atlas.clusters.plan import Found
from subcell.atlas.knowledge.gene_sets import Membership
from subcell.atlas.knowledge.naming import name_of, nearest_to_centre, top_locations
from subcell.atlas.units.units import KINDS_OF_RUNS

CLUSTER_COLUMNS = (
    *("level", "cluster", "parent", "size", "stability", "members", "top_location"),
    *("resolution", "name", "fraction", "background", "p_value", "q_value", "top_units"),
    *("stability_seeds", "stability_bootstrap", "stability_held_out", "stable", "not_measured"),
    *("consensus", "containment", "persistence"),
    *("top_term", "top_term_source", "top_term_q_value", "markers", "cells"),
)
"""Columns of clusters.tsv; `stability` is the least over the kinds of runs that could be made, `not_measured` the others;
`name` is the best significant term, or location, with the share of members that have it; fraction, background, p_value and
q_value are of `top_location`, which need not be significant."""


LEVEL_COLUMNS = (
    *("level", "resolution", "neighbors", "clusters", "published_clusters", "stable_clusters"),
    *("ari_seeds", "ari_bootstrap", "ari_held_out", "ari_seeds_to_map", "ari_bootstrap_to_map", "ari_held_out_to_map"),
    *("unit_stability", "one_block"),
)
"""Columns of levels.tsv; adjusted Rand indices of all pairs of runs, and of the runs to the map; `one_block` is the share
of units with one field (or well) only, which no resample changes: where it is more than half, there are no resamples.
`published_clusters` is empty unless `published_counts` names the map to compare with."""

MARKERS = 5


def describe_clusters(
    found: Found,
    obs: pd.DataFrame,
    points: NDArray[np.floating],
    terms: pd.DataFrame,
    locations: Membership | None,
    cells_of: Sequence[str],
    *,
    stable_at: float,
    alpha: float,
) -> pd.DataFrame:
    """Table of all clusters of all levels, one row a cluster, columns `CLUSTER_COLUMNS`.

    Parameters
    ----------
    found : levels and what runs say of them
    obs, points : units and their vectors (N, features)
    terms : best term by level and cluster, see `subcell.atlas.knowledge.enrichment.best_terms`
    locations : of the units; None where none are known
    cells_of : (N,) for each unit the cell that lies nearest to it
    stable_at : a cluster is stable where every kind of run finds it with at least this Jaccard overlap
    alpha : false discovery rate at which a location names a cluster

    `markers` are the members nearest to the centre of the cluster, `top_units` the same, and `cells` their cells to look
    at; within a unit's name ";" becomes ",".
    """
    names = [str(name).replace(";", ",") for name in obs.index]
    rows = []
    for number, level in enumerate(found.levels, start=1):
        central = nearest_to_centre(points, level.labels, most=MARKERS)
        kinds = [found.seeds[number - 1], found.bootstraps[number - 1], found.held_out[number - 1]]
        agreed = found.consensus[number - 1] == level.labels
        located = top_locations(level.labels, locations)
        for cluster in range(level.clusters):
            members = np.flatnonzero(level.labels == cluster)
            overlaps = {name: float(kind.clusters[cluster]) for name, kind in zip(KINDS_OF_RUNS, kinds, strict=True)}
            measured = [overlap for overlap in overlaps.values() if np.isfinite(overlap)]
            key = (number, str(cluster + 1))
            best = terms.loc[key] if key in terms.index else None
            place = located.loc[cluster] if cluster in located.index else None
            nearest = ";".join(names[row] for row in central[cluster])
            rows.append(
                {
                    "level": number,
                    "cluster": str(cluster + 1),
                    "parent": str(level.parents[cluster] + 1) if level.parents[cluster] >= 0 else "",
                    "size": len(members),
                    "stability": round(min(measured, default=np.nan), 4),
                    "members": ";".join(names[row] for row in members),
                    "top_location": "" if place is None else place["term"],
                    "resolution": level.step.resolution,
                    "name": name_of(best, place, everything=len(members) == len(obs), alpha=alpha),
                    **{
                        column: np.nan if place is None else place[column]
                        for column in ("fraction", "background", "p_value", "q_value")
                    },
                    "top_units": nearest,
                    **{f"stability_{name}": round(overlap, 4) for name, overlap in overlaps.items()},
                    "stable": str(all(overlap >= stable_at for overlap in measured)) if measured else "",
                    "not_measured": ";".join(name for name in KINDS_OF_RUNS if not np.isfinite(overlaps[name])),
                    "consensus": round(float(agreed[members].mean()), 4),
                    "containment": level.containment[cluster],
                    "persistence": found.persistence[number - 1][cluster],
                    "top_term": "" if best is None else best["term"],
                    "top_term_source": "" if best is None else best["source"],
                    "top_term_q_value": np.nan if best is None else best["q_value"],
                    "markers": nearest,
                    "cells": ";".join(cells_of[row].replace(";", ",") for row in central[cluster]),
                }
            )
    return pd.DataFrame(rows, columns=list(CLUSTER_COLUMNS))


def describe_levels(found: Found, clusters: pd.DataFrame) -> pd.DataFrame:
    """Table of the levels, one row a level, columns `LEVEL_COLUMNS`."""
    rows = []
    for number, level in enumerate(found.levels, start=1):
        seeds, bootstraps, alone = (kind[number - 1] for kind in (found.seeds, found.bootstraps, found.held_out))
        here = clusters[clusters["level"] == number]
        rows.append(
            {
                "level": number,
                "resolution": level.step.resolution,
                "neighbors": level.step.neighbors,
                "clusters": level.clusters,
                "stable_clusters": int((here["stable"] == "True").sum()),
                "ari_seeds": seeds.ari_between,
                "ari_bootstrap": bootstraps.ari_between,
                "ari_held_out": alone.ari_between,
                "ari_seeds_to_map": seeds.ari_to_map,
                "ari_bootstrap_to_map": bootstraps.ari_to_map,
                "ari_held_out_to_map": alone.ari_to_map,
                "unit_stability": float(np.mean(found.unit_stability[number - 1])),
                "one_block": found.one_block,
            }
        )
    return pd.DataFrame(rows, columns=list(LEVEL_COLUMNS))
