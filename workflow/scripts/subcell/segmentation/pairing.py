"""Give nuclei and cells one id: every cell its nucleus, every nucleus its cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import expand_labels

INSIDE = 0.5
"""Share of a nucleus that must lie in a cell for it to be that cell's nucleus."""


def pair(
    nuclei: NDArray[np.integer],
    cells: NDArray[np.integer],
    *,
    um_per_px: float,
    rim_um: float,
    min_nucleus_um2: float = 0.0,
    min_cell_um2: float = 0.0,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Match nuclei and cells that were found apart.

    A cell without a nucleus is dropped, a nucleus without a cell gets a rim. A cell body with several nuclei is shared
    out among them, each pixel to the nearest nucleus. A nucleus' pixels belong to its cell whatever cell they were
    found in, so the nucleus lies inside.

    Parameters
    ----------
    nuclei, cells : (Y, X) labels, 0 is background
    um_per_px : pixel size
    rim_um : width of the cytoplasm that a nucleus without a cell gets
    min_nucleus_um2, min_cell_um2 : smaller ones are dropped

    Returns
    -------
    nuclei, cells : (Y, X) int32, the same ids in both, from 1 on
    """
    nuclei = drop_small(fill_holes(largest_pieces(nuclei)), min_nucleus_um2 / um_per_px**2)
    if not nuclei.any():
        return np.zeros(nuclei.shape, np.int32), np.zeros(nuclei.shape, np.int32)
    owner = _owner(nuclei, cells)
    # Bodies are grown from their nuclei: the pixels of a body go to the nearest of the nuclei in it.
    bodies = np.zeros(nuclei.shape, np.int32)
    body_of_pixel = owner[nuclei]
    for body, window in enumerate(ndimage.find_objects(cells.astype(np.int32)), start=1):
        ids = np.flatnonzero(owner == body)
        if window is None or not len(ids):
            continue
        inside = cells[window] == body
        if len(ids) == 1:
            bodies[window][inside] = ids[0]
            continue
        seeds = np.where(inside & (body_of_pixel[window] == body), nuclei[window], 0)
        _, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
        bodies[window][inside] = seeds[tuple(nearest)][inside]
    bodies[nuclei > 0] = nuclei[nuclei > 0]
    alone = np.flatnonzero(owner == 0)[1:]
    if len(alone):
        rims = expand_labels(np.where(np.isin(nuclei, alone), nuclei, 0), distance=rim_um / um_per_px)
        free = (bodies == 0) & (rims > 0)
        bodies[free] = rims[free]
    bodies = fill_holes(largest_pieces(bodies, holding=nuclei))
    bodies[nuclei > 0] = nuclei[nuclei > 0]
    return keep_pairs(nuclei, bodies, min_nucleus_px=0, min_cell_px=min_cell_um2 / um_per_px**2)


def keep_pairs(
    nuclei: NDArray[np.integer], cells: NDArray[np.integer], *, min_nucleus_px: float = 0, min_cell_px: float = 0
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Keep ids that both images have and that are large enough, numbered from 1 in the old order.

    Parameters
    ----------
    nuclei, cells : (Y, X) labels with the same ids
    min_nucleus_px, min_cell_px : smallest areas in pixels
    """
    length = int(max(nuclei.max(initial=0), cells.max(initial=0))) + 1
    nucleus_px = np.bincount(nuclei.ravel(), minlength=length)
    cell_px = np.bincount(cells.ravel(), minlength=length)
    keep = (nucleus_px >= max(min_nucleus_px, 1)) & (cell_px >= max(min_cell_px, 1))
    keep[0] = False
    lookup = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return lookup[nuclei], lookup[cells]


def drop_small(labels: NDArray[np.integer], min_px: float) -> NDArray[np.int32]:
    """Drop objects of fewer pixels, and number the others from 1."""
    return keep_pairs(labels, labels, min_nucleus_px=min_px)[0]


def largest_pieces(labels: NDArray[np.integer], *, holding: NDArray[np.integer] | None = None) -> NDArray[np.int32]:
    """Keep one connected piece of each object: the largest, or the one that holds most of the same id in `holding`."""
    kept = np.zeros(labels.shape, np.int32)
    for number, window in enumerate(ndimage.find_objects(labels.astype(np.int32)), start=1):
        if window is None:
            continue
        pieces, found = ndimage.label(labels[window] == number)
        if found > 1:
            chosen = pieces[holding[window] == number] if holding is not None else pieces
            chosen = chosen[chosen > 0] if (chosen > 0).any() else pieces[pieces > 0]
            pieces = pieces == np.bincount(chosen).argmax()
        kept[window][pieces > 0] = number
    return kept


def fill_holes(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Fill holes of objects; what lies in a hole and is another object stays."""
    filled = labels.copy()
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is not None:
            whole = ndimage.binary_fill_holes(labels[window] == number)
            filled[window][whole & (labels[window] == 0)] = number
    return filled


def _owner(nuclei: NDArray[np.int32], cells: NDArray[np.integer]) -> NDArray[np.int64]:
    """Cell in which each nucleus lies, 0 for none; entry 0 stands for the background."""
    count = int(nuclei.max())
    owner = np.zeros(count + 1, np.int64)
    inside = nuclei > 0
    pairs, overlap = np.unique(
        np.stack([nuclei[inside], cells[inside].astype(np.int64)], axis=1), axis=0, return_counts=True
    )
    area = np.bincount(nuclei[inside], minlength=count + 1)
    for (nucleus, cell), pixels in zip(pairs, overlap, strict=True):
        if cell > 0 and pixels >= INSIDE * area[nucleus]:
            owner[nucleus] = cell
    return owner
