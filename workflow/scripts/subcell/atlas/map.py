"""The map of one dataset as one model sees it: units, their clusters at rising resolutions, and where to draw them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from subcell.atlas.graph import FEWEST, connect_and_lay_out
from subcell.atlas.leiden import Level, cluster_levels
from subcell.atlas.naming import enrich, nearest_to_centre
from subcell.atlas.units import Unit, aggregate
from subcell.crops.anndata_file import categories_of_text
from subcell.errors import SubcellError

CLUSTER_COLUMNS = (
    *("level", "cluster", "parent", "size", "stability", "members", "top_location"),
    *("resolution", "name", "fraction", "background", "p_value", "q_value", "top_units"),
)
"""Columns of clusters.tsv; `name` is the most enriched location with the share of members that have it."""

MIXED_UNITS = {"handcrafted", "shortcuts"}
"""Kinds of models whose features have units of their own; without scaling, areas would drown the rest."""


def build_map(
    cells: str | Path,
    *,
    out_h5ad: str | Path,
    out_tsv: str | Path,
    unit: Unit = "gene",
    average: Literal["mean", "median"] = "mean",
    levels: Sequence[float] = (0.1, 0.5, 1.0, 2.0),
    neighbors: int = 15,
    seeds: int = 20,
    min_cells: int = 1,
    seed: int = 42,
) -> None:
    """Average cells to units, cluster them at every resolution, lay them out, and write the map.

    Parameters
    ----------
    cells : AnnData file of vectors, a row a cell
    out_h5ad : map to write: X the vectors of the units, obs level_1 to level_L and what is known of a unit,
        obsm["X_umap"], obsp["connectivities"], uns what was done; without rows, and with uns["not_run"], where the cells
        do not say which unit they belong to
    out_tsv : table of clusters to write, `CLUSTER_COLUMNS`
    unit, average : see `subcell.atlas.units.aggregate`
    levels : Leiden resolutions; taken in rising order
    neighbors : neighbours of a unit in the graph; fewer where there are fewer units
    seeds : Leiden runs with other seeds per level, for the stability of clusters
    min_cells : units with fewer cells are left out
    seed : of Leiden and UMAP

    Raises
    ------
    SubcellError : the file of cells is missing or damaged
    """
    try:
        table = anndata.read_h5ad(cells, backed="r")
    except (OSError, KeyError) as problem:
        raise SubcellError(f"{cells}: not a file of vectors ({problem}); delete it and embed again") from None
    kind = str(table.uns.get("kind", ""))
    model = str(table.uns.get("model", ""))
    units = aggregate(table, unit, average)
    table.file.close()
    enough = units.obs["n_cells"].to_numpy() >= min_cells
    if not enough.all():
        units = units[enough].copy()
    resolutions = sorted(levels)
    units.uns.update(
        model=model,
        kind=kind,
        units_left_out=int((~enough).sum()),
        resolutions=np.array(resolutions, float),
        seeds=seeds,
        seed=seed,
        min_cells=min_cells,
        scaled=kind in MIXED_UNITS,
    )
    if units.n_obs < FEWEST and "not_run" not in units.uns:
        units.uns["not_run"] = f"needs {FEWEST} {unit}s with at least {min_cells} cells, {units.n_obs} are there"
        units = units[:0].copy()
    clusters = pd.DataFrame(columns=list(CLUSTER_COLUMNS))
    units.obsm["X_umap"] = np.zeros((units.n_obs, 2), np.float32)
    if units.n_obs:
        points, use_rep = units.X, "X"
        if kind in MIXED_UNITS:
            points, use_rep = StandardScaler().fit_transform(units.X), "X_scaled"
            units.obsm[use_rep] = points
        connect_and_lay_out(units, use_rep=use_rep, neighbors=neighbors, seed=seed)
        found = cluster_levels(units.obsp["connectivities"], resolutions, seeds=seeds, seed=seed)
        clusters = describe_clusters(found, units.obs, points)
        for number, level in enumerate(found, start=1):
            names = [str(cluster + 1) for cluster in range(len(level.parents))]
            units.obs[f"level_{number}"] = pd.Categorical.from_codes(level.labels, categories=names)
    _write(units, Path(out_h5ad), clusters, Path(out_tsv))


def describe_clusters(levels: Sequence[Level], obs: pd.DataFrame, points: NDArray[np.floating]) -> pd.DataFrame:
    """Table of all clusters of all levels, one row a cluster, columns `CLUSTER_COLUMNS`.

    `top_units` are the members nearest to the centre of the cluster; within a unit's name ";" becomes ",".
    """
    names = [str(name).replace(";", ",") for name in obs.index]
    locations = list(obs["locations"].astype(object)) if "locations" in obs else [None] * len(obs)
    rows = []
    for number, level in enumerate(levels, start=1):
        central = nearest_to_centre(points, level.labels)
        for cluster, enriched in enumerate(enrich(level.labels, locations)):
            members = np.flatnonzero(level.labels == cluster)
            rows.append(
                {
                    "level": number,
                    "cluster": str(cluster + 1),
                    "parent": str(level.parents[cluster] + 1) if level.parents[cluster] >= 0 else "",
                    "size": len(members),
                    "stability": round(float(level.stability[cluster]), 4),
                    "members": ";".join(names[row] for row in members),
                    "top_location": enriched.location,
                    "resolution": level.resolution,
                    "name": enriched.name,
                    "fraction": enriched.fraction,
                    "background": enriched.background,
                    "p_value": enriched.p_value,
                    "q_value": enriched.q_value,
                    "top_units": ";".join(names[row] for row in central[cluster]),
                }
            )
    return pd.DataFrame(rows, columns=list(CLUSTER_COLUMNS))


def _write(units: anndata.AnnData, out_h5ad: Path, clusters: pd.DataFrame, out_tsv: Path) -> None:
    units.obs = categories_of_text(units.obs)
    for path in (out_h5ad, out_tsv):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary_tsv = out_tsv.with_name(f".{out_tsv.name}.{os.getpid()}.tmp")
    temporary_h5ad = out_h5ad.with_name(f".{out_h5ad.name}.{os.getpid()}.tmp")
    try:
        clusters.to_csv(temporary_tsv, sep="\t", index=False, float_format="%.6g", lineterminator="\n")
        units.write_h5ad(temporary_h5ad)
        temporary_tsv.replace(out_tsv)
        temporary_h5ad.replace(out_h5ad)
    finally:
        temporary_tsv.unlink(missing_ok=True)
        temporary_h5ad.unlink(missing_ok=True)
