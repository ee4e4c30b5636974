"""The most similar proteins of a protein, or cells of a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from subcell.atlas.map.map import MIXED_UNITS
from subcell.atlas.units.summaries import Average
from subcell.atlas.units.units import Unit, aggregate
from subcell.errors import SubcellError
from subcell.tables import write_table

COLUMNS = ("unit", "rank", "neighbor", "similarity")

EXACT_ROWS = 50_000
"""Above, comparing all with all takes hours; an index finds nearly all of the nearest."""

BLOCK_ROWS = 1024


def find_neighbors(
    cells: str | Path,
    out_tsv: str | Path,
    *,
    unit: Unit | Literal["cell"] = "gene",
    average: Average = "mean",
    most: int = 10,
    seed: int = 42,
) -> None:
    """Find the nearest units of every unit by the cosine of their vectors.

    Parameters
    ----------
    cells : AnnData file of vectors, a row a cell
    out_tsv : table to write: unit, rank (1 is nearest), neighbor, similarity (cosine; features of mixed units, such as
        areas, are standardised first). Without rows where no cell has the unit.
    unit, average : see `subcell.atlas.units.units.aggregate`; `cell` compares single cells
    most : neighbours of each, fewer where there are fewer units
    seed : of the index that more than `EXACT_ROWS` units need

    Raises
    ------
    SubcellError : the file of cells is missing or damaged
    """
    try:
        table = anndata.read_h5ad(cells, backed="r")
    except (OSError, KeyError) as problem:
        raise SubcellError(f"{cells}: not a file of vectors ({problem}); delete it and embed again") from None
    kind = str(table.uns.get("kind", ""))
    if unit == "cell":
        names, vectors = table.obs_names.to_numpy(str), np.asarray(table.X[:], np.float32)
    else:
        units = aggregate(table, unit, average)
        names, vectors = units.obs_names.to_numpy(str), np.asarray(units.X)
    table.file.close()
    if kind in MIXED_UNITS and len(vectors):
        vectors = StandardScaler().fit_transform(vectors).astype(np.float32)
    nearest, similarity = nearest_rows(vectors, most, seed=seed)
    found = nearest.shape[1]
    result = pd.DataFrame(
        {
            "unit": np.repeat(names, found),
            "rank": np.tile(np.arange(1, found + 1), len(names)),
            "neighbor": names[nearest.ravel()],
            "similarity": similarity.ravel(),
        },
        columns=list(COLUMNS),
    )
    write_table(result, out_tsv, float_format="%.5g")


def nearest_rows(
    vectors: NDArray[np.floating], most: int, *, seed: int = 42
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Nearest other rows of every row by cosine.

    Parameters
    ----------
    vectors : (N, D)
    most : how many

    Returns
    -------
    nearest : (N, K) row numbers, nearest first, of equal ones the earlier row; K = min(most, N - 1)
    similarity : (N, K) cosine
    """
    rows, most = len(vectors), max(0, min(most, len(vectors) - 1))
    nearest = np.zeros((rows, most), np.int64)
    similarity = np.zeros((rows, most), np.float32)
    if not most:
        return nearest, similarity
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    unit = np.ascontiguousarray(unit, np.float32)
    if rows > EXACT_ROWS:
        return _indexed(unit, most, seed)
    for start in range(0, rows, BLOCK_ROWS):
        cosine = unit[start : start + BLOCK_ROWS] @ unit.T
        here = np.arange(len(cosine))
        cosine[here, start + here] = -np.inf
        top = np.sort(np.argpartition(-cosine, most - 1, axis=1)[:, :most], axis=1)
        values = np.take_along_axis(cosine, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        nearest[start : start + BLOCK_ROWS] = np.take_along_axis(top, order, axis=1)
        similarity[start : start + BLOCK_ROWS] = np.take_along_axis(values, order, axis=1)
    return nearest, similarity


def _indexed(unit: NDArray[np.float32], most: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    from pynndescent import NNDescent

    index = NNDescent(unit, metric="cosine", n_neighbors=most + 1, random_state=seed, n_jobs=1)
    found, distance = index.neighbor_graph
    # A row is its own nearest, but not always the first of equal ones.
    keep = found != np.arange(len(unit))[:, None]
    keep &= np.cumsum(keep, axis=1) <= most
    keep[keep.sum(axis=1) < most] = [True] * most + [False]
    return found[keep].reshape(-1, most).astype(np.int64), 1 - distance[keep].reshape(-1, most)
