"""The neighbour graph on which a map is clustered and drawn."""

from __future__ import annotations

import anndata
import numpy as np

MIN_DIST = 0.5
SPREAD = 0.6
"""UMAP's settings in the paper."""

FEWEST = 5
"""With fewer points nothing has a neighbourhood."""


def connect_and_lay_out(units: anndata.AnnData, *, use_rep: str, neighbors: int, seed: int) -> None:
    """Connect nearest neighbours and lay the graph out in the plane with UMAP, both by scanpy.

    Parameters
    ----------
    units : at least `FEWEST` rows; gets obsp["connectivities"] and obsp["distances"], uns["neighbors"], and
        obsm["X_umap"] (N, 2) around 0
    use_rep : "X" or a key of obsm
    neighbors : neighbours of a point, itself not counted; at most N - 1 are taken
    seed : of approximate search in large maps and of the layout
    """
    import scanpy

    # scanpy counts a point among its own neighbours.
    count = min(neighbors + 1, units.n_obs)
    scanpy.pp.neighbors(units, n_neighbors=count, use_rep=use_rep, random_state=seed)
    # A spectral start needs more points than dimensions by a margin.
    start = "spectral" if units.n_obs > 20 else "random"
    scanpy.tl.umap(units, min_dist=MIN_DIST, spread=SPREAD, init_pos=start, random_state=seed)
    positions = units.obsm["X_umap"]
    units.obsm["X_umap"] = (positions - positions.mean(axis=0)).astype(np.float32)
