"""Give nuclei and cells one id: every cell its nucleus, every nucleus its cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import expand_labels

INSIDE = 0.5
"""Share of a nucleus that must lie in a cell for it to be that cell's nucleus."""

REACH_UM = 15.0
"""How far a cell may grow into foreground that no other cell has."""


class Paired(NamedTuple):
    """Nuclei and cells with the same ids.

    Attributes
    ----------
    nuclei, cells : (Y, X) int32, from 1 on
    nuclei_in_cell : (cells,) how many nuclei each cell has
    """

    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    nuclei_in_cell: NDArray[np.int64]


def pair(
    nuclei: NDArray[np.integer],
    cells: NDArray[np.integer],
    *,
    um_per_px: float,
    rim_um: float,
    foreground: NDArray[np.bool_] | None = None,
    same_cell_um: float = 0.0,
    min_nucleus_um2: float = 0.0,
    min_cell_um2: float = 0.0,
) -> Paired:
    """Match nuclei and cells that were found apart.

    A nucleus without a cell gets a rim. Nuclei that lie side by side in one body are nuclei of one cell. Nuclei further
    apart are those of neighbours that were not told apart, and share the body out, each pixel to the nearest nucleus.
    A nucleus' pixels belong to its cell whatever cell they were found in, so the nucleus lies inside. A body without a
    nucleus is dropped at the edge of the field, where its nucleus may be out of view. Elsewhere it is mostly a piece of a
    long cell, and goes with the rest of the foreground to the cells that it touches.

    Parameters
    ----------
    nuclei, cells : (Y, X) labels, 0 is background
    um_per_px : pixel size
    rim_um : width of the cytoplasm that a nucleus without a cell gets
    foreground : (Y, X) where there is any cell body
    same_cell_um : how far apart the edges of two nuclei of one cell may be
    min_nucleus_um2, min_cell_um2 : smaller ones are dropped
    """
    nuclei = drop_small(fill_holes(largest_pieces(nuclei)), min_nucleus_um2 / um_per_px**2)
    if not nuclei.any():
        return Paired(np.zeros(nuclei.shape, np.int32), np.zeros(nuclei.shape, np.int32), np.zeros(0, np.int64))
    owner = _owner(nuclei, cells)
    nuclei, owner, counts = _joined(nuclei, owner, reach_px=same_cell_um / um_per_px)
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
    if foreground is not None:
        bodies = _grown(bodies, foreground & ~_dropped_at_edge(cells, owner), reach_px=REACH_UM / um_per_px)
    bodies = fill_holes(largest_pieces(bodies, holding=nuclei))
    bodies[nuclei > 0] = nuclei[nuclei > 0]
    nuclei, bodies, kept = keep_pairs(nuclei, bodies, min_nucleus_px=0, min_cell_px=min_cell_um2 / um_per_px**2)
    return Paired(nuclei, bodies, counts[kept])


def keep_pairs(
    nuclei: NDArray[np.integer], cells: NDArray[np.integer], *, min_nucleus_px: float = 0, min_cell_px: float = 0
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Keep ids that both images have and that are large enough, numbered from 1 in the old order.

    Parameters
    ----------
    nuclei, cells : (Y, X) labels with the same ids
    min_nucleus_px, min_cell_px : smallest areas in pixels

    Returns
    -------
    nuclei, cells : (Y, X) int32
    kept : (n,) the old ids
    """
    length = int(max(nuclei.max(initial=0), cells.max(initial=0))) + 1
    nucleus_px = np.bincount(nuclei.ravel(), minlength=length)
    cell_px = np.bincount(cells.ravel(), minlength=length)
    keep = (nucleus_px >= max(min_nucleus_px, 1)) & (cell_px >= max(min_cell_px, 1))
    keep[0] = False
    lookup = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return lookup[nuclei], lookup[cells], np.flatnonzero(keep)


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


def _dropped_at_edge(cells: NDArray[np.integer], owner: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Bodies without a nucleus that the edge of the field cuts."""
    edge = np.unique(np.concatenate([cells[0], cells[-1], cells[:, 0], cells[:, -1]]))
    return np.isin(cells, np.setdiff1d(edge, np.append(owner, 0)))


def _grown(bodies: NDArray[np.int32], foreground: NDArray[np.bool_], *, reach_px: float) -> NDArray[np.int32]:
    """Give foreground to the nearest cell within reach; what is not connected to it then is no part of it."""
    distance, nearest = ndimage.distance_transform_edt(bodies == 0, return_indices=True)
    return np.where(foreground & (distance <= reach_px), bodies[tuple(nearest)], bodies)


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


def _joined(
    nuclei: NDArray[np.int32], owner: NDArray[np.int64], *, reach_px: float
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Give nuclei of one body whose edges are within reach one id.

    Returns
    -------
    nuclei, numbered from 1; the body of each; how many nuclei each id stands for (entry 0 is the background)
    """
    first = np.arange(len(owner))
    windows = ndimage.find_objects(nuclei)
    shared = np.flatnonzero(np.bincount(owner)[owner] > 1)
    margin = int(np.ceil(reach_px)) + 1
    for number in shared[owner[shared] > 0] if reach_px > 0 else ():
        window = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in windows[number - 1])
        distance = ndimage.distance_transform_edt(nuclei[window] != number)
        for other in np.unique(nuclei[window][distance <= reach_px]):
            if other and owner[other] == owner[number]:
                # Chains of nuclei become one cell: all that belonged to the larger id follow.
                low, high = sorted((first[number], first[other]))
                first[first == high] = low
    ids, numbered = np.unique(first, return_inverse=True)
    counts = np.bincount(numbered)
    return numbered.astype(np.int32)[nuclei], owner[ids], counts.astype(np.int64)
