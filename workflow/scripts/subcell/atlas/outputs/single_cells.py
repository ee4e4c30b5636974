"""Single cells of a map: the ones to look at, and a UMAP of a sample of them."""

from __future__ import annotations

from typing import Any

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.atlas.clusters.graph import FEWEST, connect_and_lay_out
from subcell.atlas.knowledge.naming import nearest_to_centre
from subcell.atlas.outputs.tables import MARKERS
from subcell.atlas.units.units import unit_names

COLUMNS = ("cell_id", "field_id", "unit", "cell_line", "x", "y")

NEIGHBORS = 124
"""The paper's 125, the cell itself counted."""


def nearest_cells(
    vectors: Any,
    obs: pd.DataFrame,
    keep: NDArray[np.bool_] | None,
    units: anndata.AnnData,
    points: NDArray[np.floating],
    partitions: NDArray[np.int_],
    unit: str,
) -> list[str]:
    """For each unit that marks a cluster the cell nearest to its mean, which is the one to look at.

    Parameters
    ----------
    vectors, obs, keep : of the cells; only those of the markers are read
    units, points : the map's units and their vectors
    partitions : (levels, N)
    unit : what a unit is

    Returns
    -------
    (N,) cell_id, "" for other units
    """
    wanted = sorted(
        {row for labels in partitions for rows in nearest_to_centre(points, labels, most=MARKERS) for row in rows}
    )
    names = unit_names(obs, unit, split_lines=" @ " in str(units.obs_names[0]))
    if keep is not None:
        names = names.where(keep, None)
    codes = pd.Categorical(names, categories=units.obs_names).codes
    found = [""] * units.n_obs
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(units.n_obs + 1))
    features = vectors.shape[1]
    for row in wanted:
        cells = np.sort(order[starts[row] : starts[row + 1]])
        mean = np.asarray(units.X[row, :features], np.float64)
        distance = np.linalg.norm(np.asarray(vectors[cells], np.float64) - mean, axis=1).round(6)
        # By name where several are equally near, so that the order of the cells does not matter.
        found[row] = min(zip(distance, (str(obs.index[cell]) for cell in cells), strict=True))[1]
    return found


def lay_out_cells(
    vectors: Any,
    obs: pd.DataFrame,
    keep: NDArray[np.bool_] | None,
    most: int,
    units: anndata.AnnData,
    unit: str,
    seed: int,
) -> pd.DataFrame | None:
    """UMAP of a random sample of single cells with the paper's settings, `COLUMNS` and level_1 to level_L of their unit.

    None where no cells are asked for (`most` is 0), or too few are there.
    """
    names = unit_names(obs, unit, split_lines=units.n_obs > 0 and " @ " in str(units.obs_names[0]))
    usable = np.flatnonzero(names.isin(units.obs_names).to_numpy() & (True if keep is None else keep))
    if not most or len(usable) < FEWEST:
        return None
    if len(usable) > most:
        usable = np.sort(np.random.default_rng(seed).choice(usable, most, replace=False))
    cells = anndata.AnnData(np.asarray(vectors[usable], np.float32))
    if units.uns["scaled"]:
        from sklearn.preprocessing import StandardScaler

        cells.X = StandardScaler().fit_transform(cells.X)
    connect_and_lay_out(cells, use_rep="X", neighbors=NEIGHBORS, seed=seed)
    table = pd.DataFrame({"cell_id": obs.index[usable].astype(str), "unit": names.to_numpy()[usable]})
    for column in ("field_id", "cell_line"):
        table[column] = obs[column].to_numpy(object)[usable] if column in obs else None
    table["x"], table["y"] = cells.obsm["X_umap"].T
    levels = [column for column in units.obs if str(column).startswith("level_")]
    of_unit = units.obs[levels].astype(str).reindex(table["unit"]).reset_index(drop=True)
    return pd.concat([table[list(COLUMNS)], of_unit], axis=1)
