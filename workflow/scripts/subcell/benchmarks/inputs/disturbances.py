"""Changes of crops that should not change what a cell is, at four severities each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from subcell.crops.store import MASKS, PLANES

SEVERITIES: dict[str, tuple[float, ...]] = {
    "rotation": (15, 45, 90, 180),
    "shift": (0.02, 0.05, 0.1, 0.15),
    "scale": (0.05, 0.1, 0.15, 0.2),
    "gain": (0.1, 0.25, 0.5, 1.0),
    "offset": (0.02, 0.05, 0.1, 0.2),
    "blur": (0.5, 1.0, 1.5, 2.0),
    "noise": (0.02, 0.05, 0.1, 0.2),
    "jpeg": (90, 70, 50, 30),
    "mask": (1, 2, 3, 5),
    "protein_brightness": (1.5, 2.0, 3.0, 4.6),
}
"""What is done and how much: degrees; share of the side; share of the size; doublings, a factor for each channel drawn up to
it; share of a channel's 99.9th percentile; deviation in pixels; share of the 99.9th percentile; quality; pixels; times.
Scale, mask and protein brightness go up for every other cell and down for the rest. 4.6 times is the change of brightness
at which 29% of SubCell's calls are reported to flip."""

PROTEIN = PLANES.index("protein")


def disturb(images: NDArray[Any], name: str, severity: float, *, seed: int = 0) -> NDArray[Any]:
    """Crops after a change; what leaves the range of the type is cut off there.

    Parameters
    ----------
    images : (N, 6, H, W) uint8 or uint16, masks first; masks go along where the cell moves
    name, severity : of `SEVERITIES`
    seed : of gains and noise; the same cell gets the same ones whatever else is in the batch

    Raises
    ------
    KeyError : an unknown name
    """
    change = _CHANGES[name]
    out = np.empty_like(images)
    for number, crop in enumerate(images):
        rng = np.random.default_rng([seed, number, sorted(SEVERITIES).index(name)])
        out[number] = change(crop, severity, number % 2 == 0, rng)
    return out


def _moved(crop: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    side = crop.shape[-1]
    out = np.empty_like(crop)
    for number, plane in enumerate(crop):
        how = cv2.INTER_NEAREST if number < len(MASKS) else cv2.INTER_LINEAR
        out[number] = cv2.warpAffine(plane, matrix, (side, side), flags=how)
    return out


def _rotation(crop: NDArray[Any], degrees: float, up: bool, rng: np.random.Generator) -> NDArray[Any]:
    if degrees % 90 == 0:
        return np.rot90(crop, int(degrees // 90), axes=(1, 2))
    centre = (crop.shape[-1] - 1) / 2
    return _moved(crop, cv2.getRotationMatrix2D((centre, centre), degrees, 1))


def _shift(crop: NDArray[Any], share: float, up: bool, rng: np.random.Generator) -> NDArray[Any]:
    angle, length = rng.uniform(0, 2 * np.pi), share * crop.shape[-1]
    return _moved(crop, np.array([[1, 0, length * np.cos(angle)], [0, 1, length * np.sin(angle)]]))


def _scale(crop: NDArray[Any], share: float, up: bool, rng: np.random.Generator) -> NDArray[Any]:
    centre = (crop.shape[-1] - 1) / 2
    return _moved(crop, cv2.getRotationMatrix2D((centre, centre), 0, 1 + share if up else 1 - share))


def _pixels(crop: NDArray[Any], change: Callable[[NDArray[np.floating]], NDArray[np.floating]]) -> NDArray[Any]:
    """The channels after a change, rounded and cut to their type; masks as they are."""
    out = crop.copy()
    changed = change(crop[len(MASKS) :].astype(np.float32))
    out[len(MASKS) :] = np.clip(np.round(changed), 0, np.iinfo(crop.dtype).max).astype(crop.dtype)
    return out


def _bright(planes: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(np.percentile(planes, 99.9, axis=(1, 2)))[:, None, None]


def _gain(crop: NDArray[Any], doublings: float, up: bool, rng: np.random.Generator) -> NDArray[Any]:
    factors = 2 ** rng.uniform(-doublings, doublings, (len(PLANES) - len(MASKS), 1, 1))
    return _pixels(crop, lambda planes: planes * factors)


def _offset(crop: NDArray[Any], share: float, up: bool, rng: np.random.Generator) -> NDArray[Any]:
    return _pixels(crop, lambda planes: planes + share * _bright(planes))


def _blur(crop: NDArray[Any], sigma: float, up: bool, rng: np.random.Generator) -> NDArray[Any]:
    return _pixels(crop, lambda planes: np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in planes]))


def _noise(crop: NDArray[Any], share: float, up: bool, rng: np.random.Generator) -> NDArray[Any]:
    return _pixels(crop, lambda planes: planes + share * _bright(planes) * rng.standard_normal(planes.shape))


def _jpeg(crop: NDArray[Any], quality: float, up: bool, rng: np.random.Generator) -> NDArray[Any]:
    largest = np.iinfo(crop.dtype).max

    def change(planes: NDArray[np.floating]) -> NDArray[np.floating]:
        out = np.empty_like(planes)
        for plane, kept in zip(planes, out, strict=True):
            # Of 16 bits as people convert them: by the brightest pixel.
            top = max(1.0, float(plane.max())) if largest > 255 else 255.0
            _, packed = cv2.imencode(
                ".jpg", np.round(plane * (255 / top)).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
            )
            kept[:] = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)) * (top / 255)
        return out

    return _pixels(crop, change)


def _mask(crop: NDArray[Any], pixels: float, up: bool, rng: np.random.Generator) -> NDArray[Any]:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * int(pixels) + 1,) * 2)
    mask = crop[1].astype(np.uint8)
    changed = cv2.dilate(mask, disc) if up else cv2.erode(mask, disc)
    out = crop.copy()
    # A cell that would vanish keeps its mask.
    out[1] = changed if changed.any() else mask
    return out


def _protein_brightness(crop: NDArray[Any], times: float, up: bool, rng: np.random.Generator) -> NDArray[Any]:
    factors = np.ones((len(PLANES) - len(MASKS), 1, 1))
    factors[PROTEIN - len(MASKS)] = times if up else 1 / times
    return _pixels(crop, lambda planes: planes * factors)


_CHANGES: dict[str, Callable[[NDArray[Any], float, bool, np.random.Generator], NDArray[Any]]] = {
    "rotation": _rotation,
    "shift": _shift,
    "scale": _scale,
    "gain": _gain,
    "offset": _offset,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "mask": _mask,
    "protein_brightness": _protein_brightness,
}
