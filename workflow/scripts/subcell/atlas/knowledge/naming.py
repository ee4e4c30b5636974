"""What a cluster is: its most enriched location, its name, and the units that stand for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.atlas.knowledge.enrichment import Limits, count_and_test
from subcell.atlas.knowledge.gene_sets import Membership
from subcell.atlas.units.units import EVERYTHING, UNNAMED


def top_locations(labels: NDArray[np.int_], locations: Membership | None) -> pd.DataFrame:
    """The most enriched location of each cluster of a level, whether it is significant or not.

    Parameters
    ----------
    labels : (N,) cluster of each unit, from 0
    locations : of the units; None where none are known

    Returns
    -------
    indexed by cluster: term, fraction (of the tested members), background (share of all tested units), p_value, q_value
    (over all clusters and locations of the level, however small or large); the location of the smallest p-value, then of
    the largest fraction, then of the first name. Clusters without a known location are missing.
    """
    columns = ["term", "fraction", "background", "p_value", "q_value"]
    if locations is None:
        return pd.DataFrame(columns=columns)
    table = count_and_test(labels, locations, Limits(min_term=1, max_term=len(labels), min_cluster=1))
    table["fraction"] = table["hits"] / table["size"]
    table["background"] = table["term_size"] / table["tested"]
    # Rounded, because equal p-values may differ in their last digit.
    table["order"] = np.log(np.maximum(table["p_value"].to_numpy(float), 1e-300)).round(9)
    ordered = table.sort_values(["cluster", "order", "fraction", "term"], ascending=[True, True, False, True])
    return ordered.drop_duplicates("cluster").set_index("cluster")[columns]


def name_of(term: pd.Series | None, location: pd.Series | None, *, everything: bool, alpha: float) -> str:
    """Name of a cluster: its best term or else location, with the share of members that have it, where significant.

    Parameters
    ----------
    term : a row of `subcell.atlas.knowledge.enrichment.best_terms`
    location : a row of `top_locations`
    everything : whether the cluster holds all units
    alpha : false discovery rate
    """
    if term is not None:
        return f"{term['term']} ({term['hits'] / term['size']:.0%})"
    if location is not None and location["q_value"] <= alpha:
        return f"{location['term']} ({location['fraction']:.0%})"
    return EVERYTHING if everything else UNNAMED


def nearest_to_centre(vectors: NDArray[np.floating], labels: NDArray[np.int_], *, most: int = 5) -> list[list[int]]:
    """Row numbers of the points of each cluster that lie nearest to its mean, the nearest first."""
    nearest = []
    for cluster in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == cluster)
        points = np.asarray(vectors[members], np.float64)
        distances = np.linalg.norm(points - points.mean(axis=0), axis=1)
        nearest.append([int(row) for row in members[np.argsort(distances.round(9), kind="stable")[:most]]])
    return nearest
