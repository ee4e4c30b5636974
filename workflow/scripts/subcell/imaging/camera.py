"""What a camera adds to an image, taken off again: offset, uneven illumination, shifted channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from subcell.channels import CHANNELS
from subcell.errors import ImageError

OFFSET_PERCENTILE = 0.1
"""Percentile of a field that stands for its camera's offset: the darkest pixels that are not defects."""

STRETCHED_SHARE, STRETCHED_PIXELS = 5e-6, 3
"""A stretch for display puts the darkest 0.001 % or more of a channel at 0 (of 289 channels of HPA that reach full scale,
1.8 % at least); fewer pixels are dead ones. At the other end one has to do: 13 of the 289, copies of a quarter of the side,
have no more than two there."""


CAMERA_BITS = (10, 12, 14, 16)
"""Bits of cameras whose pixels are saved as 16 bit."""


@dataclass(frozen=True)
class Camera:
    """Corrections of a dataset's images; by default none, as is right for HPA's display-stretched images.

    Attributes
    ----------
    offset : "none"; "auto": of each field and channel the 0.1 percentile, unless the channel is display-stretched; or
        counts a channel
    shift_px : channel -> (down, right), pixels by which the channel lies off the others; it is moved back
    flat_field : folder with `<plate>/<channel>.tif`, gains around 1 by which a channel is divided; None for none
    """

    offset: Literal["none", "auto"] | Mapping[str, float] = "none"
    shift_px: Mapping[str, Sequence[float]] = field(default_factory=dict)
    flat_field: str | Path | None = None

    def correct(
        self, image: NDArray[Any], present: Sequence[str], *, plate: str | None = None
    ) -> tuple[NDArray[Any], dict[str, float]]:
        """Correct one field.

        Parameters
        ----------
        image : (4, Y, X) uint8 or uint16, in the order of CHANNELS
        present : channels that the field has
        plate : its plate, where there are flat fields

        Returns
        -------
        image : corrected, of the same type; the input where there is nothing to do
        offsets : counts that were subtracted, by channel

        Raises
        ------
        ImageError : a flat field that is missing or of another size
        """
        offsets: dict[str, float] = {}
        corrected = image
        for number, channel in enumerate(CHANNELS):
            if channel not in present:
                continue
            plane = image[number]
            offset = self._offset(plane, channel)
            gain = self._gain(plane, channel, plate)
            down, right = self.shift_px.get(channel, (0, 0))
            if offset:
                offsets[channel] = offset
            if not (offset or gain is not None or down or right):
                continue
            if corrected is image:
                corrected = image.copy()
            corrected[number] = _corrected(plane, offset, gain, (down, right))
        return corrected, offsets

    def _offset(self, plane: NDArray[Any], channel: str) -> float:
        if self.offset == "none":
            return 0.0
        if self.offset == "auto":
            return 0.0 if is_stretched(plane) else float(np.floor(np.percentile(plane, OFFSET_PERCENTILE)))
        return float(self.offset.get(channel, 0.0))

    def _gain(self, plane: NDArray[Any], channel: str, plate: str | None) -> NDArray[np.float32] | None:
        if self.flat_field is None:
            return None
        path = Path(self.flat_field) / flat_field_name(plate, channel)
        if not path.is_file():
            raise ImageError(f"{path}: no flat field of the channel {channel} of plate {plate or 'without name'}")
        import tifffile

        gain = tifffile.imread(path)
        if gain.ndim != 2 or not np.isfinite(gain).all() or gain.min() <= 0:
            raise ImageError(f"{path}: a flat field is one plane of finite gains above 0")
        return np.asarray(cv2.resize(gain.astype(np.float32), plane.shape[::-1], interpolation=cv2.INTER_LINEAR))


NO_CORRECTION = Camera()


def flat_field_name(plate: str | None, channel: str) -> str:
    """Path of a flat field in its folder; whatever a plate is called, it is one folder there."""
    from urllib.parse import quote

    return f"plate-{quote(plate or '', safe='')}/{channel}.tif"


def _corrected(
    plane: NDArray[Any], offset: float, gain: NDArray[np.float32] | None, shift: tuple[float, float]
) -> NDArray[Any]:
    values: NDArray[Any] = plane.astype(np.float32) - np.float32(offset)
    if gain is not None:
        values /= gain
    if any(shift):
        # Pixel (y, x) of the result is pixel (y + down, x + right) of the shifted channel.
        matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], np.float64)
        values = cv2.warpAffine(values, matrix, plane.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.clip(np.rint(values), 0, np.iinfo(plane.dtype).max).astype(plane.dtype)


def is_stretched(plane: NDArray[Any]) -> bool:
    """Whether a channel was stretched for display, as HPA's are: cut off at 0, and reaching full scale of its type."""
    cut_off = np.count_nonzero(plane == 0) >= max(STRETCHED_PIXELS, STRETCHED_SHARE * plane.size)
    return bool(cut_off) and int(plane.max()) == np.iinfo(plane.dtype).max


def bit_depth(image: NDArray[Any]) -> int:
    """Bits of the camera: 8 for uint8, else the fewest of 10, 12, 14 and 16 that hold the field's brightest pixel.

    A dim 16-bit field looks like one of fewer bits, so this is the least that the camera had.
    """
    if image.dtype == np.uint8:
        return 8
    brightest = int(image.max(initial=0))
    return next(bits for bits in CAMERA_BITS if brightest < 2**bits)
