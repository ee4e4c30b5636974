"""Single cells among the units of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from subcell.atlas.units.units import COLUMNS
from subcell.crops.anndata_file import text_of_categories
from subcell.reporting.explorer.packing import coded

NEIGHBORS = 15
"""Units whose weighted mean position is that of a cell."""

SAMPLE = 2000
"""Cells from which the width of the weights comes."""

BLOCK_BYTES = 2**26
ATTENTION = "obsm/attention"
MOST_ATTENTION = 4000
"""Attention of more cells than this is left out of the page."""


@dataclass(frozen=True)
class CellsOnMap:
    """Cells with their places on a map.

    Attributes
    ----------
    path : file of vectors they come from
    obs : (cells, ...) what is known of them
    unit : (cells,) number of each cell's unit; the number of units for cells that are on no unit of the map
    points : (cells, 2) positions in the plane of the map
    distance : (cells,) Euclidean distance from the vector of the unit, 0 for cells without
    """

    path: Path
    obs: pd.DataFrame
    unit: NDArray[np.int64]
    points: NDArray[np.float32]
    distance: NDArray[np.float32]

    def of_units(
        self, names: Sequence[str], units: Sequence[str], *, present: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """Columns of the cells that have one value a unit, as columns of the units; those in `present` are left out."""
        found = {}
        for name in names:
            if name in self.obs and name not in present and self.obs[name].notna().any():
                inside = self.unit < len(units)
                first = pd.Series(self.obs[name].to_numpy(object)[inside]).groupby(self.unit[inside]).first()
                found[name] = first.reindex(range(len(units))).to_numpy(object)
        return found

    def attention_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """Attention of some cells, the mean over heads, (cells, h, w): 0 where it is no more than spread evenly, 255 where it
        is highest in the cell, and at least twice as much; None where it was not kept or there are too many cells."""
        with h5py.File(self.path, "r") as file:
            if ATTENTION not in file or len(rows) > MOST_ATTENTION:
                return None
            order = np.unique(rows)
            values = np.asarray(file[ATTENTION][order], np.float32).mean(axis=1)[np.searchsorted(order, rows)]
        more = values / np.maximum(values.mean(axis=(1, 2), keepdims=True), 1e-9) - 1
        highest = np.maximum(more.max(axis=(1, 2), keepdims=True), 1)
        return (np.maximum(more, 0) / highest * 255).round().astype(np.uint8)


def place_cells(
    cells_h5ad: str | Path,
    *,
    units: Sequence[str],
    unit: str,
    vectors: NDArray[np.floating] | None,
    points: NDArray[np.floating],
    scaled: bool,
    line: str | None = None,
) -> CellsOnMap | None:
    """Place every cell at the mean position of the units nearest to it, weighted by how well it fits each.

    A weight is that of a unit in a mixture of Gaussians around the units, exp(-d² / 2s²), with s² the mean squared
    distance of cells from their own unit over the square root of the number of features: between one Gaussian's true
    width, at which a cell would jump from unit to unit, and none at all. It needs no second UMAP of all cells, and a cell
    stands on the same plane as the proteins: beside its own where it agrees with it, elsewhere where it looks like another.

    Parameters
    ----------
    cells_h5ad : vectors of the cells
    units : names of the units of the map
    unit : what they are, a key of `subcell.atlas.units.units.COLUMNS`
    vectors : (units, features) of the units
    points : (units, 2) their positions
    scaled : whether the map was made from features scaled to unit variance over the units
    line : the one cell line whose cells the units were averaged from; cells of others are on no unit

    Returns
    -------
    the cells, or None where their vectors are not those that the units were averaged from
    """
    path = Path(cells_h5ad)
    with h5py.File(path, "r") as file:
        shape = file["X"].shape
        if vectors is None or vectors.shape[1] != shape[1] or not len(units):
            return None
        obs = text_of_categories(read_elem(file["obs"]))
        number = _number_of_unit(obs, units, unit)
        if line is not None:
            number = np.where(obs["cell_line"].astype(object) == line, number, len(units))
        centre = np.asarray(vectors, np.float64).mean(axis=0)
        spread = np.asarray(vectors, np.float64).std(axis=0) if scaled else np.ones(shape[1])
        spread[spread == 0] = 1
        reference = ((vectors - centre) / spread).astype(np.float32)
        nearest = NearestNeighbors(n_neighbors=min(NEIGHBORS, len(units)), algorithm="brute", metric="sqeuclidean")
        nearest.fit(reference)
        chosen = np.flatnonzero(number < len(units))
        chosen = chosen[:: max(1, len(chosen) // SAMPLE)]
        own = ((file["X"][chosen] - centre) / spread).astype(np.float32) - reference[number[chosen]]
        width = float((own**2).sum(axis=1).mean()) / np.sqrt(shape[1]) if len(chosen) else 1.0
        places = np.zeros((shape[0], 2), np.float32)
        distance = np.zeros(shape[0], np.float32)
        block = max(1, BLOCK_BYTES // (4 * shape[1]))
        for start in range(0, shape[0], block):
            rows = slice(start, min(start + block, shape[0]))
            cells = ((file["X"][rows] - centre) / spread).astype(np.float32)
            squared, codes = nearest.kneighbors(cells)
            places[rows] = _weighted_places(squared, np.asarray(points, np.float32)[codes], width=width)
            known = np.flatnonzero(number[rows] < len(units))
            distance[start + known] = np.linalg.norm(cells[known] - reference[number[start + known]], axis=1)
    return CellsOnMap(path, obs, number, places, distance)


def _weighted_places(
    squared: NDArray[np.floating], places: NDArray[np.float32], *, width: float
) -> NDArray[np.float32]:
    """Weighted mean of the positions of the nearest units.

    Parameters
    ----------
    squared : (cells, k) squared distances to the nearest units
    places : (cells, k, 2) their positions
    width : squared distance at which a weight has fallen to exp(-1/2) of that of the nearest unit
    """
    weights = np.exp((squared.min(axis=1, keepdims=True) - squared) / (2 * max(width, 1e-12)))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("ck,ckd->cd", weights, places), np.float32)


def _number_of_unit(obs: pd.DataFrame, units: Sequence[str], unit: str) -> NDArray[np.int64]:
    columns = [name for name in COLUMNS.get(unit, (unit,)) if name in obs and obs[name].notna().any()]
    if not columns:
        return np.full(len(obs), len(units))
    name = obs[columns[0]].astype(object).map(str, na_action="ignore")
    for column in columns[1:]:
        name = name + ":" + obs[column].astype(object).map(str, na_action="ignore")
    return coded(name, list(units))
