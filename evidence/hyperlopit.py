"""A map of real proteins without any image (hyperLOPIT, U-2 OS): are its levels and names right?

    PYTHONPATH=workflow/scripts .venv/bin/python evidence/hyperlopit.py --data ../shared/data

config/evidence.yaml makes the map from fractions of mass spectrometry; the levels are those that are stable, no label has a
say. Every level is compared with the marker compartments of the data's authors (`lopit_marker`), which neither the map nor
the names of its clusters know: names come from GO without what the Atlas gave, from CORUM, and from the Atlas's locations.
Adjusted mutual information is 0 for chance at any number of clusters. Beside the map: the same clusters dealt at random
(`shuffled`), and k-means with as many clusters on the same vectors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scores import BOOTSTRAPS, SEED, Scored, tidy

from subcell.benchmarks.statistics.bootstrap import Estimate, draw_units, interval
from subcell.errors import SheetError

NAME = "hyperlopit"
MARKER, UNMARKED = "lopit_marker", "unknown"
MAP, SHUFFLED, KMEANS = "map", "shuffled", "k-means"
SHUFFLES = 100
LEAST_MARKERS = 3
"""Markers that a cluster needs for them to say what it is."""


def run(folder: Path, vectors: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Score the levels of the map and list its clusters.

    Parameters
    ----------
    folder : with map.h5ad, levels.tsv, clusters.tsv and enrichment_controls.tsv of the map
    vectors : AnnData file that the map was made of, with the marker of each protein

    Returns
    -------
    table : columns `scores.COLUMNS`; a task a level
    clusters : of the finest level: size, stability, name, most frequent marker and its share of the cluster's markers
    counted : proteins, markers and compartments
    """
    proteins = anndata.read_h5ad(folder / "map.h5ad")
    marker = markers_of(vectors).reindex(proteins.obs.index.astype(str))
    known = marker.notna().to_numpy()
    if not known.any():
        raise SheetError(f"{vectors}: none of its genes with a {MARKER} is on the map {folder / 'map.h5ad'}")
    compartments = marker[known].to_numpy(str)
    levels, clusters = (
        pd.read_csv(folder / f"{name}.tsv", sep="\t", dtype={"cluster": str}) for name in ("levels", "clusters")
    )
    parts = []
    for number in levels["level"]:
        labels = proteins.obs[f"level_{number}"].to_numpy(str)
        count = len(np.unique(labels))
        if count < 2:
            continue
        grouped = {MAP: labels, KMEANS: k_means(np.asarray(proteins.X, float), count)}
        scored = {name: agreement(compartments, found[known]) for name, found in grouped.items()}
        scored[SHUFFLED] = shuffled(compartments, labels, known)
        task = f"level {number}, {count} clusters"
        parts.append(tidy(NAME, task, "adjusted mutual information", "protein", scored, KMEANS))
    finest = clusters[clusters["level"] == levels["level"].max()]
    described = describe(finest, proteins.obs[f"level_{levels['level'].max()}"].astype(str), marker)
    counted = {"proteins": len(marker), "markers": int(known.sum()), "compartments": len(set(compartments))}
    return pd.concat(parts, ignore_index=True), described, counted


def markers_of(vectors: Path) -> pd.Series:
    """Compartment of each gene that is a marker of one; index gene."""
    obs = anndata.read_h5ad(vectors, backed="r").obs
    if MARKER not in obs:
        raise SheetError(f"{vectors}: has no column {MARKER}; expected hyperLOPIT with its markers")
    table = obs[["gene", MARKER]].astype(str)
    return table[table[MARKER] != UNMARKED].groupby("gene")[MARKER].first()


def agreement(compartments: NDArray[np.str_], labels: NDArray[np.str_]) -> Scored:
    """Adjusted mutual information of clusters and marker compartments, proteins resampled."""
    from sklearn.metrics import adjusted_mutual_info_score as agree

    value = float(agree(compartments, labels))
    drawn = draw_units(len(labels), bootstraps=BOOTSTRAPS // 5, seed=SEED)
    rows = np.arange(len(labels))
    replicates = np.array(
        [agree(*(part[np.repeat(rows, counts)] for part in (compartments, labels))) for counts in drawn]
    )
    low, high = interval(replicates, value, bounds=(-1, 1))
    return Scored(Estimate(value, low, high, replicates), 0.0, len(labels))


def shuffled(compartments: NDArray[np.str_], labels: NDArray[np.str_], known: NDArray[np.bool_]) -> Scored:
    """The same when clusters are dealt at random to all proteins; the interval is that of single deals."""
    from sklearn.metrics import adjusted_mutual_info_score as agree

    rng = np.random.default_rng(SEED)
    found = np.array([agree(compartments, rng.permutation(labels)[known]) for _ in range(SHUFFLES)])
    value = float(found.mean())
    low, high = interval(found, value)
    # Draws of labels, not of proteins: no pair with the others.
    return Scored(Estimate(value, low, high, np.zeros(0)), 0.0, len(compartments))


def k_means(vectors: NDArray[np.floating], clusters: int) -> NDArray[np.str_]:
    """As many clusters on the same vectors without a graph, each feature standardised."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    scaled = StandardScaler().fit_transform(vectors)
    return KMeans(clusters, n_init=5, random_state=SEED).fit_predict(scaled).astype(str)


def describe(clusters: pd.DataFrame, labels: pd.Series, marker: pd.Series) -> pd.DataFrame:
    """Clusters beside their markers, the largest first; no compartment where there are fewer than `LEAST_MARKERS`."""
    rows = []
    for cluster in clusters.sort_values("size", ascending=False).to_dict("records"):
        inside = marker[(labels == str(cluster["cluster"])).to_numpy()].dropna()
        common = inside.value_counts()
        said = len(inside) >= LEAST_MARKERS
        rows.append(
            {
                "cluster": str(cluster["cluster"]),
                "proteins": int(cluster["size"]),
                "stability": float(cluster["stability"]),
                "name": cluster["name"] if isinstance(cluster["name"], str) else "",
                "markers": len(inside),
                "compartment": str(common.index[0]) if said else "",
                "share": float(common.iloc[0] / len(inside)) if said else np.nan,
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Score, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--results", type=Path, default=Path("results/evidence"))
    asked = parser.parse_args()
    table, clusters, counted = run(
        asked.results / NAME / "mass_spectrometry", asked.data / "real_vectors" / "hyperlopit_u2os.h5ad"
    )
    print(table.to_string(index=False), clusters.to_string(index=False), counted, sep="\n")


if __name__ == "__main__":
    main()
