"""The paper's own findings, put to the test: does a set of genes lie together, and at which level does it part?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.atlas.clusters.hierarchy import Partitions
from subcell.atlas.knowledge.resource_table import read_resource_table
from subcell.errors import SheetError
from subcell.names import names_in

COLUMNS = (
    *("finding", "set", "contrast", "genes", "on_map", "others", "auroc", "auroc_shuffled", "auroc_p_value"),
    *("first_level_apart", "together", "apart", "not_run"),
)
"""Columns of findings.tsv."""

FEWEST_GENES = 3
SHUFFLES = 500


def read_findings(path: str | Path) -> pd.DataFrame:
    """Table of findings: finding, set, contrast (the set it parts from, empty for others of the location), locations, genes.

    Raises
    ------
    SheetError : a column is missing, or a contrast names no set of its finding
    """
    table = read_resource_table(path, ("finding", "set", "contrast", "locations", "genes"))
    for number, row in enumerate(table.itertuples(), start=2):
        if row.contrast and row.contrast not in set(table["set"]):
            raise SheetError(f"{path}, line {number}: contrast {row.contrast!r} is no set of the table")
    return table


def check_findings(
    findings: pd.DataFrame, obs: pd.DataFrame, points: NDArray[np.floating], partitions: Partitions, *, seed: int = 0
) -> pd.DataFrame:
    """Score each finding on a map.

    Parameters
    ----------
    findings : see `read_findings`
    obs, points : units with gene and locations, and their vectors (N, features)
    partitions : (levels, N)
    seed : of shuffling

    Returns
    -------
    `COLUMNS`: `auroc` tells how well mean cosine similarity to the others of the set ranks its members before the units
    of its locations; beside it the mean of random sets of the same units and the share of them that reach it.
    `first_level_apart` is the first level at which pairs within the set (and within its contrast) share a cluster more
    often than pairs across, by more than 95 % of shuffles do; `together` and `apart` are these shares there.
    """
    rng = np.random.default_rng(seed)
    genes = [set(names_in(value)) for value in obs["gene"].astype(object)] if "gene" in obs else []
    where = [set(names_in(v)) for v in obs["locations"].astype(object)] if "locations" in obs else []
    vectors = np.asarray(points, np.float64) - np.mean(points, axis=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    sets = {row.set: set(names_in(row.genes)) for row in findings.itertuples()}
    rows = []
    for finding in findings.itertuples():
        inside = _units_with(sets[finding.set], genes)
        places = set(names_in(finding.locations))
        of_location = np.array(
            [row for row, names in enumerate(where) if names & places and row not in set(inside)], int
        )
        against = _units_with(sets[finding.contrast], genes) if finding.contrast else of_location
        against = np.setdiff1d(against, inside)
        result = {
            "finding": finding.finding,
            "set": finding.set,
            "contrast": finding.contrast or "others of the location",
            "genes": len(sets[finding.set]),
            "on_map": len(inside),
            "others": len(against),
        }
        if len(inside) < FEWEST_GENES or len(against) < FEWEST_GENES:
            rows.append(result | {"not_run": f"needs {FEWEST_GENES} genes of the set and {FEWEST_GENES} others"})
            continue
        if len(of_location) >= FEWEST_GENES:
            result |= _auroc(vectors[np.concatenate([inside, of_location])], len(inside), rng)
        rows.append(
            result | _first_level_apart(partitions, inside, against, bool(finding.contrast), rng) | {"not_run": ""}
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"first_level_apart": "Int64"})


def _units_with(wanted: set[str], genes: Sequence[set[str]]) -> NDArray[np.int_]:
    return np.array([row for row, names in enumerate(genes) if names & wanted], int)


def _auroc(vectors: NDArray[np.floating], members: int, rng: np.random.Generator) -> dict[str, float]:
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, 0)

    def area(rows: NDArray[np.int_]) -> float:
        inside = np.zeros(len(vectors), bool)
        inside[rows] = True
        score = similar[:, rows].sum(axis=1) / np.where(inside, len(rows) - 1, len(rows))
        ranks = pd.Series(score).rank().to_numpy()
        others = len(vectors) - len(rows)
        return float((ranks[inside].sum() - len(rows) * (len(rows) + 1) / 2) / (len(rows) * others))

    real = area(np.arange(members))
    null = np.array([area(rng.choice(len(vectors), members, replace=False)) for _ in range(SHUFFLES)])
    return {
        "auroc": real,
        "auroc_shuffled": float(null.mean()),
        "auroc_p_value": float((1 + (null >= real).sum()) / (1 + SHUFFLES)),
    }


def _first_level_apart(
    partitions: Partitions, inside: NDArray[np.int_], against: NDArray[np.int_], both: bool, rng: np.random.Generator
) -> dict[str, float]:
    units = np.concatenate([inside, against])
    for number, labels in enumerate(partitions[:, units], start=1):
        together, apart = _shares(labels, len(inside), both)
        null = []
        for _ in range(SHUFFLES):
            shuffled = _shares(rng.permutation(labels), len(inside), both)
            null.append(shuffled[0] + shuffled[1])
        if together + apart > np.quantile(null, 0.95):
            return {"first_level_apart": number, "together": together, "apart": apart}
    return {}


def _shares(labels: NDArray[np.int_], members: int, both: bool) -> tuple[float, float]:
    """Share of pairs within the set (and within its contrast) in one cluster, and of pairs across in different ones."""
    clusters = labels.max() + 1
    one = np.bincount(labels[:members], minlength=clusters)
    other = np.bincount(labels[members:], minlength=clusters)

    def within(counts: NDArray[np.int_]) -> float:
        return float((counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1)))

    together = (within(one) + within(other)) / 2 if both else within(one)
    return together, 1 - float((one * other).sum() / (one.sum() * other.sum()))
