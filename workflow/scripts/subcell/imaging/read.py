"""Read planes, fields and label images: PNG, JPEG, TIFF and OME-TIFF, 8 or 16 bit."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subcell.catalog.planes import Plane, parse_plane
from subcell.channels import CHANNELS
from subcell.errors import ImageError
from subcell.imaging.colour import one_hue_to_grey
from subcell.imaging.ledger import listed_file, read_ledger
from subcell.imaging.tiff import read_tiff

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE_PX",
    "file_kind",
    "read_field",
    "read_label_image",
    "read_labels",
    "read_ledger",
    "read_plane",
]

MAX_PIXELS = 16384 * 16384
MIN_SIDE_PX = 16
"""No cell fits into less, at any resolution at which it could be told from its neighbours."""


def file_kind(path: str | Path) -> str:
    """Kind of an image file from its first bytes, whatever its name says: "png", "jpeg" or "tiff".

    Raises
    ------
    ImageError : missing, unreadable, empty, or of another kind
    """
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ImageError(f"{path}: cannot open ({error.strerror or error})") from error
    if start == b"\x89PNG\r\n\x1a\n":
        return "png"
    if start[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    raise ImageError(f"{path}: {'empty file' if not start else 'neither PNG, JPEG nor TIFF'}")


def read_plane(path: str | Path, plane: str = "", *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read one plane of one image file.

    Colour pictures of one hue, as HPA publishes its stains, give the largest of red, green and blue. Floats within 0
    to 1 are scaled to 0 to 65535, floats within 0 to 65535 are rounded; booleans become 0 and 255; wider integers are
    taken as 16 bit where their values fit.

    Parameters
    ----------
    path : PNG, JPEG, TIFF or OME-TIFF file
    plane : which plane of a file with several, e.g. "c=2,z=max,t=0"; z is a number, "max" (brightest over depth) or
        "best_focus" (largest variance of the Laplacian). In a colour picture c is a sample (0 is red).
    max_pixels : largest height x width, checked in the file's header before anything is decoded

    Returns
    -------
    (Y, X) uint8 or uint16

    Raises
    ------
    ImageError : missing, damaged, too large or too small, several hues, NaN, or a plane that has to be named
    """
    image = _decode(Path(path), parse_plane(plane), max_pixels)
    try:
        image = _as_grey_integers(image)
        return one_hue_to_grey(image) if image.ndim == 3 else image
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def read_field(
    images_dir: str | Path,
    ledger: pd.DataFrame,
    field_id: str,
    channels: Iterable[str] = CHANNELS,
    *,
    max_pixels: int = MAX_PIXELS,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read the channels of one field.

    Parameters
    ----------
    images_dir, ledger : folder of images and its ledger
    field_id : the field
    channels : which to read, in the order of the result
    max_pixels : see `read_plane`

    Returns
    -------
    image : (C, Y, X) uint8, or uint16 where any channel has 16 bit (8-bit channels then count 257 times as much, so
        that full scale stays full scale); a channel that the field lacks is zero
    present : the channels that the field has

    Raises
    ------
    ImageError : an image cannot be used, sizes differ, or the field has none of the channels
    SubcellError : an image is no longer the one that the ledger lists
    """
    channels = tuple(channels)
    rows = _rows_of(ledger, field_id)
    planes = {
        channel: read_plane(listed_file(images_dir, rows[channel]), rows[channel].plane, max_pixels=max_pixels)
        for channel in channels
        if channel in rows
    }
    if not planes:
        raise ImageError(f"field {field_id}: none of the channels {', '.join(channels)} is there")
    sizes = {channel: plane.shape for channel, plane in planes.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{channel} {height} x {width}" for channel, (height, width) in sizes.items())
        raise ImageError(f"field {field_id}: channels differ in size ({listed} pixels); they must show the same pixels")
    dtype = np.result_type(*planes.values())
    image = np.zeros((len(channels), *next(iter(sizes.values()))), dtype)
    for number, channel in enumerate(channels):
        if channel in planes:
            image[number] = planes[channel]
            if planes[channel].dtype != dtype:
                image[number] *= 257
    return image, tuple(planes)


def read_labels(
    images_dir: str | Path,
    ledger: pd.DataFrame,
    field_id: str,
    channel: str,
    *,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray | None:
    """Read a label image that came with a field: 0 is background, every other value one object.

    Returns
    -------
    (Y, X) int32, or None where the field has no such image

    Raises
    ------
    ImageError : as in `read_plane`, or values that are no labels
    SubcellError : the image is no longer the one that the ledger lists
    """
    row = _rows_of(ledger, field_id).get(channel)
    if row is None:
        return None
    return read_label_image(listed_file(images_dir, row), row.plane, max_pixels=max_pixels)


def read_label_image(path: str | Path, plane: str = "", *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a file of labels: (Y, X) int32; errors as in `read_labels`."""
    labels = _decode(Path(path), parse_plane(plane), max_pixels)
    if labels.ndim == 3:
        if (labels != labels[..., :1]).any():
            raise ImageError(f"{path}: a label image must be grey, one number an object; this one is in colour")
        labels = labels[..., 0]
    if labels.dtype.kind == "f" and (not np.isfinite(labels).all() or (labels != np.round(labels)).any()):
        raise ImageError(f"{path}: a label image must hold whole numbers")
    if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        raise ImageError(f"{path}: labels must lie between 0 and {np.iinfo(np.int32).max}")
    return labels.astype(np.int32)


def _rows_of(ledger: pd.DataFrame, field_id: str) -> dict[str, Any]:
    """Usable files of a field by channel, as rows of the ledger."""
    rows = ledger[(ledger["field_id"] == field_id) & (ledger["status"] == "ok")]
    return {row.channel: row for row in rows.itertuples(index=False)}


def _decode(path: Path, plane: Plane, max_pixels: int) -> np.ndarray:
    """Pixels of a plane as stored: (Y, X) or (Y, X, S)."""

    def check_size(height: int, width: int) -> None:
        if height * width > max_pixels:
            raise ImageError(f"{height} x {width} pixels are more than the {max_pixels:,} allowed; cut it into fields")
        if min(height, width) < MIN_SIDE_PX:
            raise ImageError(f"{height} x {width} pixels are too few; a field has at least {MIN_SIDE_PX} a side")

    kind = file_kind(path)
    try:
        if kind == "tiff":
            return read_tiff(path, plane, check_size)
        if plane.z not in (None, 0, "max", "best_focus") or plane.t not in (None, 0):
            raise ImageError(f"a {kind.upper()} file has one depth and one time, z=0 and t=0")
        picture = _read_png(path, check_size) if kind == "png" else _read_jpeg(path, check_size)
        if plane.c is None:
            return picture
        samples = picture.shape[-1] if picture.ndim == 3 else 1
        if plane.c >= samples:
            raise ImageError(f"plane c={plane.c} is outside the picture, which has 0 to {samples - 1}")
        return picture[..., plane.c] if picture.ndim == 3 else picture
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _read_png(path: Path, check_size: Callable[[int, int], None]) -> np.ndarray:
    """Decode with libpng, which keeps 16-bit colour; Pillow reduces it to 8 bit."""
    import imagecodecs

    data = path.read_bytes()
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise ImageError("truncated PNG file")
    check_size(int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big"))
    try:
        return imagecodecs.png_decode(data)
    except (imagecodecs.PngError, ValueError, RuntimeError, MemoryError) as error:
        raise ImageError(f"not a readable PNG file ({error}); it may be truncated") from error


def _read_jpeg(path: Path, check_size: Callable[[int, int], None]) -> np.ndarray:
    """Decode with Pillow, which refuses truncated files where libjpeg fills them with grey."""
    from PIL import JpegImagePlugin

    try:
        # Not Image.open: its own limit on pixels is lower than ours.
        with JpegImagePlugin.JpegImageFile(path) as picture:
            check_size(picture.height, picture.width)
            if picture.mode not in ("L", "RGB"):
                raise ImageError(f"JPEG with colours {picture.mode}; expected grey or RGB")
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError, MemoryError) as error:
        raise ImageError(f"not a readable JPEG file ({error}); it may be truncated") from error


def _as_grey_integers(image: np.ndarray) -> np.ndarray:
    """Bring any pixel type to uint8 or uint16, refusing what cannot be meant."""
    if image.dtype in (np.uint8, np.uint16):
        return image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype == bool:
        return image.astype(np.uint8) * 255
    if image.dtype.kind not in "iuf":
        raise ImageError(f"pixels of type {image.dtype} cannot be used; save as 8 or 16 bit")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ImageError("NaN or infinite pixels")
    low, high = image.min(), image.max()
    if low < 0 or high > 65535:
        raise ImageError(f"pixels from {low:g} to {high:g}; expected 0 to 65535 (or 0 to 1 as floats), save as 16 bit")
    scale = 65535 if image.dtype.kind == "f" and high <= 1 else 1
    return np.round(image * scale).astype(np.uint16) if image.dtype.kind == "f" else image.astype(np.uint16)
