"""Cut one square image per cell out of a field."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from subcell.errors import ImageError, ShapeError

DILATE_UM = 0.24
"""SubCell grows each mask by a 7 x 7 square, 3 px at HPA's 0.08 um, so that a cell keeps its own rim."""


SAME_SCALE = 0.01
"""A crop whose own pixels are within this share of those asked for is not resampled: it would only be blurred."""


def field_size_px(field_um: float, pixel_size_um: float, pixels: int | None = None) -> int:
    """Side of a crop in pixels of the source; whole pixels, so the scale is off by at most half a pixel in all.

    Where it comes within 1% of `pixels`, the side that the crop will have, it is that.
    """
    side = max(1, round(field_um / pixel_size_um))
    return pixels if pixels and abs(side - pixels) <= SAME_SCALE * pixels else side


def dilation_px(pixel_size_um: float, dilate_um: float = DILATE_UM) -> int:
    """Radius by which masks grow, in pixels of the source.

    The distance is the same in microns at every pixel size (3 px at 0.08 um, 2 px at 0.12 um), but never less than one
    pixel: an outline is not known better than that, and at 0.5 um a pixel and more a mask that did not grow at
    all would cut off the plasma membrane. There the margin is wider than SubCell's, by up to a pixel.
    """
    return max(1, round(dilate_um / pixel_size_um))


def crop_cells(
    image: NDArray[Any],
    nuclei: NDArray[Any],
    cells: NDArray[Any],
    *,
    field_px: int,
    out_px: int,
    dilate_px: int = 3,
    labels: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float32]]:
    """Cut one square per cell, centred on its bounding box, zero outside the field.

    Parameters
    ----------
    image : (C, Y, X) array, uint8 or uint16
    nuclei, cells : (Y, X) integer arrays, 0 is background, a nucleus has the id of its cell
    field_px : side of the square in pixels of `image`; the centre is right to half a pixel
    out_px : side of the result in pixels. Smaller than `field_px`: each result pixel is the mean of the area that it
        covers, rounded; larger: linear interpolation. Masks take the nearest pixel.
    dilate_px : radius of the square by which the cell mask grows, in pixels of `image` (see `dilation_px`). It may
        grow into a neighbour, never into a pixel outside the field. The nucleus mask stays as it is.
    labels : ids to cut; None means all of `cells`

    Returns
    -------
    images : (N, 2 + C, out_px, out_px) array of `image`'s type: nucleus mask (0/1), cell mask (0/1), channels
    cell_ids : (N,) ids, ascending or in the order of `labels`
    clipped_fraction : (N,) share of the cell's pixels, before growing, that lie outside its square

    Raises
    ------
    ShapeError : the arrays do not cover the same pixels, or `labels` names a cell that is not there
    ImageError : a pixel type other than uint8 and uint16
    """
    if image.ndim != 3 or nuclei.shape != image.shape[1:] or cells.shape != image.shape[1:]:
        raise ShapeError(f"image {image.shape}, nuclei {nuclei.shape} and cells {cells.shape} cover different pixels")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"crops are cut from uint8 or uint16 images, not {image.dtype}")
    boxes = ndimage.find_objects(cells)
    present = np.array([i for i, box in enumerate(boxes, start=1) if box is not None], dtype=np.int64)
    cell_ids = present if labels is None else np.asarray(labels, dtype=np.int64)
    absent = np.setdiff1d(cell_ids, present)
    if len(absent):
        raise ShapeError(f"cell {absent[0]} is not in the label image, which has {len(present)} cells")

    images = np.zeros((len(cell_ids), 2 + len(image), out_px, out_px), image.dtype)
    clipped = np.zeros(len(cell_ids), np.float32)
    for row, label in enumerate(cell_ids):
        box = boxes[label - 1]
        corner = (_start(box[0], field_px), _start(box[1], field_px))
        _sample_mask(images[row, 0], nuclei, label, box, corner, field_px=field_px, grow=0)
        _sample_mask(images[row, 1], cells, label, box, corner, field_px=field_px, grow=dilate_px)
        _resize_square(images[row, 2:], image, corner, field_px)
        clipped[row] = _outside(cells, label, box, corner, field_px)
    return images, cell_ids, clipped


def _start(side: slice, field_px: int) -> int:
    return (side.start + side.stop - field_px) // 2


def _outside(
    cells: NDArray[Any], label: int, box: tuple[slice, slice], corner: tuple[int, int], field_px: int
) -> float:
    if max(box[0].stop - box[0].start, box[1].stop - box[1].start) <= field_px:
        return 0.0
    mask = cells[box] == label
    y, x = (max(0, start - side.start) for start, side in zip(corner, box, strict=True))
    return 1.0 - float(mask[y : y + field_px, x : x + field_px].sum() / mask.sum())


def _sample_mask(
    out: NDArray[Any],
    labels: NDArray[Any],
    label: int,
    box: tuple[slice, slice],
    corner: tuple[int, int],
    *,
    field_px: int,
    grow: int,
) -> None:
    """Write the mask of one label into `out`, looking only at the pixels around its box."""
    top, left = max(0, box[0].start - grow), max(0, box[1].start - grow)
    mask = (labels[top : box[0].stop + grow, left : box[1].stop + grow] == label).view(np.uint8)
    if grow:
        mask = cv2.dilate(mask, np.ones((2 * grow + 1, 2 * grow + 1), np.uint8))
    # The centre of each result pixel, in pixels of the region that was looked at.
    centres = ((2 * np.arange(len(out)) + 1) * field_px) // (2 * len(out))
    rows, columns = centres + (corner[0] - top), centres + (corner[1] - left)
    y0, y1 = np.searchsorted(rows, (0, mask.shape[0]))
    x0, x1 = np.searchsorted(columns, (0, mask.shape[1]))
    out[y0:y1, x0:x1] = mask[rows[y0:y1, None], columns[None, x0:x1]]


def _resize_square(out: NDArray[Any], image: NDArray[Any], corner: tuple[int, int], field_px: int) -> None:
    """Write the square of `image` that starts at `corner`, brought to the size of `out`, into `out`."""
    out_px = out.shape[-1]
    height, width = image.shape[1:]
    y0, x0 = max(0, corner[0]), max(0, corner[1])
    y1, x1 = min(height, corner[0] + field_px), min(width, corner[1] + field_px)
    inside = (y1 - y0, x1 - x0) == (field_px, field_px)
    # Averaging over the covered area is the anti-aliasing; when enlarging there is nothing to average.
    method = cv2.INTER_AREA if out_px < field_px else cv2.INTER_LINEAR
    for channel, plane in zip(out, image, strict=True):
        square = plane[y0:y1, x0:x1]
        if not inside:
            padded = np.zeros((field_px, field_px), image.dtype)
            padded[y0 - corner[0] : y1 - corner[0], x0 - corner[1] : x1 - corner[1]] = square
            square = padded
        channel[:] = cv2.resize(square, (out_px, out_px), interpolation=method)
