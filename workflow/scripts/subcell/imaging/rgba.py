"""PNGs whose four samples are four stains, which readers of pictures would take for colours and transparency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from subcell.errors import ImageError

MAX_SIDE_PX = 4096


def read_rgba(path: str | Path) -> NDArray[Any]:
    """Read a PNG as it is stored.

    Returns
    -------
    (Y, X) or (Y, X, samples) uint8 or uint16, samples in the file's order: red, green, blue, alpha

    Raises
    ------
    ImageError : missing, damaged, or more than `MAX_SIDE_PX` a side
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot open ({error.strerror or error})") from error
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        raise ImageError(f"{path}: not a PNG")
    if max(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) > MAX_SIDE_PX:
        raise ImageError(f"{path}: more than {MAX_SIDE_PX} px a side")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    # Decoders forgive a file that ends early, and fill what is missing.
    if image is None or b"IEND" not in data[-16:]:
        raise ImageError(f"{path}: damaged or cut off")
    if image.ndim == 3:
        image = image[..., [2, 1, 0, *range(3, image.shape[-1])]]
    return np.asarray(image)
