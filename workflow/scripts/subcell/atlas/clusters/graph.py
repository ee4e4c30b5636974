"""The neighbour graph on which a map is clustered and drawn."""

from __future__ import annotations

import anndata
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from subcell.atlas.clusters.compiled import load_umap

MIN_DIST = 0.5
SPREAD = 0.6
"""UMAP's settings in the paper."""

FEWEST = 5
"""With fewer points nothing has a neighbourhood."""

EXACT_UP_TO = 30_000
"""Points up to which neighbours are searched by brute force: exact, and faster than an index where vectors are long."""


def connect(units: anndata.AnnData, *, use_rep: str, neighbors: int, seed: int) -> None:
    """Connect nearest neighbours with UMAP's weights, by scanpy.

    Parameters
    ----------
    units : at least `FEWEST` rows; gets obsp["connectivities"] and obsp["distances"], uns["neighbors"]
    use_rep : "X" or a key of obsm
    neighbors : neighbours of a point, itself not counted; at most N - 1 are taken
    seed : of the approximate search among more than `EXACT_UP_TO` points
    """
    load_umap()
    import scanpy

    # scanpy counts a point among its own neighbours.
    count = min(neighbors + 1, units.n_obs)
    search = "sklearn" if units.n_obs <= EXACT_UP_TO else None
    scanpy.pp.neighbors(units, n_neighbors=count, use_rep=use_rep, transformer=search, random_state=seed)


def neighbour_graph(points: NDArray[np.floating], neighbors: int, seed: int) -> sparse.csr_array:
    """The weights of `connect` for plain vectors (N, features): (N, N), symmetric."""
    units = anndata.AnnData(np.asarray(points, np.float32))
    connect(units, use_rep="X", neighbors=neighbors, seed=seed)
    return sparse.csr_array(units.obsp["connectivities"])


def neighbour_distances(points: NDArray[np.floating], neighbors: int, seed: int) -> sparse.csr_array:
    """The distances of `connect` for plain vectors (N, features): (N, N), a row a point."""
    units = anndata.AnnData(np.asarray(points, np.float32))
    connect(units, use_rep="X", neighbors=neighbors, seed=seed)
    return sparse.csr_array(units.obsp["distances"])


def connect_and_lay_out(
    units: anndata.AnnData, *, use_rep: str, neighbors: int, seed: int, umap_neighbors: int | None = None
) -> None:
    """Connect nearest neighbours as `connect` does, and lay them out in the plane with UMAP.

    `units` also gets obsm["X_umap"] (N, 2), float32, around 0: of the same graph, or of one with `umap_neighbors`, which
    count as `neighbors` do.
    """
    import scanpy

    connect(units, use_rep=use_rep, neighbors=neighbors, seed=seed)
    drawn = units
    if umap_neighbors not in (None, neighbors):
        drawn = anndata.AnnData(units.X if use_rep == "X" else units.obsm[use_rep])
        connect(drawn, use_rep="X", neighbors=umap_neighbors, seed=seed)
    # A spectral start needs more points than dimensions by a margin.
    start = "spectral" if units.n_obs > 20 else "random"
    scanpy.tl.umap(drawn, min_dist=MIN_DIST, spread=SPREAD, init_pos=start, random_state=seed)
    positions = drawn.obsm["X_umap"]
    units.obsm["X_umap"] = (positions - positions.mean(axis=0)).astype(np.float32)


if __name__ == "__main__":  # at set-up, so that no map has to wait for what is compiled
    connect_and_lay_out(
        anndata.AnnData(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)),
        use_rep="X",
        neighbors=15,
        seed=0,
    )
