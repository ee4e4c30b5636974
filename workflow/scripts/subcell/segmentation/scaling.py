"""From native pixels to the working scale and back."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def resize_image(image: NDArray, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize the planes of an image; pixels are averaged where it shrinks, interpolated where it grows.

    Parameters
    ----------
    image : (C, Y, X) of any number type
    shape : height and width of the result

    Returns
    -------
    (C, *shape) float32
    """
    if image.shape[1:] == shape:
        return image.astype(np.float32)
    shrinks = shape[0] < image.shape[1] or shape[1] < image.shape[2]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    # As float32: averages rounded to whole counts would take the texture out of dim images.
    planes = (np.ascontiguousarray(plane, np.float32) for plane in image)
    return np.stack([cv2.resize(plane, shape[::-1], interpolation=interpolation) for plane in planes])


def normalise(image: NDArray[np.float32], *, low: float = 1.0, high: float = 99.8) -> NDArray[np.float32]:
    """Bring each channel to about 0..1: percentiles to 0 and 1, then the square root, clipped at 1.3.

    The square root brings dim cells beside bright ones into reach. A constant channel becomes zero.

    Parameters
    ----------
    image : (C, Y, X)
    low, high : percentiles that become 0 and 1
    """
    result = np.zeros_like(image)
    for channel, plane in enumerate(image):
        bottom, top = np.percentile(plane, (low, high))
        if top <= bottom:
            # Few bright pixels: a lone cell in a large field may lie above the percentile.
            top = plane.max()
        if top > bottom:
            result[channel] = np.sqrt(np.clip((plane - bottom) / (top - bottom), 0, 1.69))
    return result


def resize_labels(labels: NDArray[np.integer], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Resize a label image without blocky edges.

    Every object's mask is interpolated on its own; a pixel goes to the object with the largest share of it, if objects
    together cover at least half. Nearest-neighbour sampling would leave steps of the size of a source pixel.

    Parameters
    ----------
    labels : (Y, X) integers, 0 is background
    shape : height and width of the result

    Returns
    -------
    (*shape) int32 with the same ids
    """
    if labels.shape == shape:
        return labels.astype(np.int32)
    step_y, step_x = labels.shape[0] / shape[0], labels.shape[1] / shape[1]
    best = np.zeros(shape, np.float32)
    covered = np.zeros(shape, np.float32)
    resized = np.zeros(shape, np.int32)
    # Padded by replication, so that an object at the edge of the field does not fade out there.
    padded = np.pad(labels, 1, mode="edge")
    for number, window in enumerate(ndimage.find_objects(padded), start=1):
        if window is None:
            continue
        top, bottom = max(window[0].start - 1, 0), min(window[0].stop + 1, padded.shape[0])
        left, right = max(window[1].start - 1, 0), min(window[1].stop + 1, padded.shape[1])
        mask = (padded[top:bottom, left:right] == number).astype(np.float32)
        y0, y1 = _clip((top - 1) / step_y, (bottom - 1) / step_y, shape[0])
        x0, x1 = _clip((left - 1) / step_x, (right - 1) / step_x, shape[1])
        if y1 <= y0 or x1 <= x0:
            continue
        # Centre of result pixel (y0, x0) in the box's own coordinates.
        from_y = (y0 + 0.5) * step_y - 0.5 - (top - 1)
        from_x = (x0 + 0.5) * step_x - 0.5 - (left - 1)
        share = cv2.warpAffine(
            mask,
            np.array([[step_x, 0, from_x], [0, step_y, from_y]]),
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        place = (slice(y0, y1), slice(x0, x1))
        covered[place] += share
        larger = share > best[place]
        best[place][larger] = share[larger]
        resized[place][larger] = number
    resized[covered < 0.5] = 0
    return resized


def _clip(low: float, high: float, size: int) -> tuple[int, int]:
    return int(np.clip(np.floor(low), 0, size)), int(np.clip(np.ceil(high), 0, size))
