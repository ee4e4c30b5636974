"""Random crops of training examples: turned, scaled, and with the faults that real images have."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from subcell.segmentation.examples import TARGET_STEP, Example

SCALES = (0.6, 1.6)
OPTIONAL = (0, 1)
"""Channels of the cell network that a data set may lack: microtubules and ER."""


def augmented(
    example: Example, rng: np.random.Generator, *, crop_px: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut one random crop.

    Parameters
    ----------
    example : a picture with its targets
    rng : random numbers
    crop_px : side of the crop, even

    Returns
    -------
    image : (C, crop_px, crop_px)
    targets : (3, crop_px / 2, crop_px / 2): flow along y and x, and whether a pixel lies in an object
    """
    image, labels, flows = _random_view(example, rng, crop_px=crop_px)
    if rng.random() < 0.03:
        # Nothing but background: an empty channel, stretched to full contrast, must not give cells.
        image, labels, flows = np.zeros_like(image), np.zeros_like(labels), np.zeros_like(flows)
    image = _brightness_of_cells(image, labels, rng)
    image = _channel_faults(image, rng)
    return image, np.concatenate([flows, (labels > 0)[None]]).astype(np.float32)


def _random_view(
    example: Example, rng: np.random.Generator, *, crop_px: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Turned, mirrored and scaled crop; flows turn with it."""
    side = crop_px // TARGET_STEP
    scale = np.exp(rng.uniform(*np.log(SCALES)))
    angle = rng.uniform(0, 2 * np.pi)
    # From the crop's (x, y) to the example's (x, y), both in pixels of the targets.
    back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < 0.5:
        back = back @ np.diag([-1, 1])
    height, width = example.labels.shape
    objects = np.flatnonzero(example.labels)
    if len(objects) and rng.random() < 0.85:
        y, x = np.unravel_index(objects[rng.integers(len(objects))], example.labels.shape)
        centre = np.array([x, y], float) + rng.uniform(-0.25, 0.25, 2) * side / scale
    else:
        centre = rng.uniform(0, 1, 2) * (width, height)
    linear = back / scale
    offset = centre - linear @ np.full(2, side / 2)

    def view(plane: NDArray[Any], *, px: int, zoom: float, nearest: bool = False) -> NDArray[np.float32]:
        # Pixel i of the crop has its centre at (i + 0.5) * side / px in target pixels, and `zoom` as much in the plane's.
        step = side / px
        matrix = linear * step * zoom
        shift = zoom * (offset + linear @ np.full(2, 0.5 * step)) - 0.5
        warped = cv2.warpAffine(
            np.ascontiguousarray(plane, np.float32),
            np.concatenate([matrix, shift[:, None]], axis=1),
            (px, px),
            flags=(cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
        )
        return np.asarray(warped, np.float32)

    image = np.stack([view(plane, px=crop_px, zoom=example.zoom) for plane in example.image])
    labels = view(example.labels, px=side, zoom=1, nearest=True).astype(np.int32)
    along = np.stack([view(plane, px=side, zoom=1, nearest=True) for plane in example.flows])
    # Flows are (y, x), the matrix acts on (x, y); its transpose turns the example's directions into the crop's.
    turned = np.einsum("ij,jyx->iyx", back.T, along[::-1])[::-1]
    return image, labels, np.where(labels > 0, turned, 0).astype(np.float32)


def _brightness_of_cells(
    image: NDArray[np.float32], labels: NDArray[np.int32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Give each object its own brightness: neighbours of one line can differ several fold."""
    if rng.random() < 0.5:
        return image
    size = image.shape[1:]
    for channel in range(len(image)):
        gains = np.exp(rng.normal(0, rng.uniform(0.1, 0.4), int(labels.max()) + 1)).astype(np.float32)
        gains[0] = 1
        image[channel] *= cv2.GaussianBlur(cv2.resize(gains[labels], size, interpolation=cv2.INTER_LINEAR), (0, 0), 1.0)
    return image


def _channel_faults(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Contrast, gamma, haze, offset, debris, blur and noise, drawn anew for each channel; a stain may be missing."""
    side = image.shape[-1]
    for channel in range(len(image)):
        plane = image[channel]
        if rng.random() < 0.4:
            plane = cv2.GaussianBlur(plane, (0, 0), rng.uniform(0.4, 2.5))
        if rng.random() < 0.3:
            haze = cv2.GaussianBlur(plane, (0, 0), rng.uniform(6, 20))
            plane = plane + rng.uniform(0.1, 0.6) * haze
        if rng.random() < 0.25:
            plane = plane + _debris(rng, side)
        plane = np.clip(plane, 0, None) ** np.exp(rng.normal(0, 0.25))
        plane = plane * np.exp(rng.normal(0, 0.2))
        if rng.random() < 0.5:
            plane = plane + rng.uniform(0, 0.2)
        # The square root makes shot noise even over the range.
        noise = rng.standard_normal((side, side), np.float32) * rng.gamma(1.0, 0.035)
        if rng.random() < 0.5:
            noise = 1.6 * cv2.GaussianBlur(noise, (0, 0), 0.7)
        image[channel] = np.clip(plane + noise, 0, 1.3)
    if len(image) > 1 and rng.random() < 0.3:
        image[rng.choice(OPTIONAL)] = 0
    return image


def _debris(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """A few bright specks, as dust and dead cells leave them."""
    specks = np.zeros((side, side), np.float32)
    places = rng.integers(0, side, (rng.integers(1, 6), 2))
    specks[places[:, 0], places[:, 1]] = rng.uniform(0.3, 1.5, len(places))
    sigma = rng.uniform(0.7, 4.0)
    return cv2.GaussianBlur(specks, (0, 0), sigma) * np.float32(2 * np.pi * sigma**2)
