"""One plane out of a TIFF or OME-TIFF, decoding no more than is asked for."""

import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import chain, product
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from subcell.catalog.planes import Plane
from subcell.errors import ImageError

_UNNAMED = "IQ"
"""tifffile's letters for axes that the file does not name, such as the pages of a plain multi-page TIFF."""

MAX_PAGES = 10_000
"""More take tens of seconds a plane to look through. Of a set of OME-TIFFs, the header of each names the planes of all."""
MAX_NAMED_PLANES = 1_000_000
MAX_SAMPLES = 64

_DAMAGED = (
    struct.error,
    zlib.error,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    RuntimeError,
    MemoryError,
    SyntaxError,
)
"""What tifffile, imagecodecs and ElementTree raise on damaged files (their own errors derive from these)."""


def read_tiff(path: Path, plane: Plane, check_size: Callable[[int, int], None]) -> np.ndarray:
    """Read one plane of the first series.

    Parameters
    ----------
    path : the file
    plane : channel, depth and time; needed for every axis that has more than one entry. Pages without a name are taken
        for whichever of c, z and t is asked for and not there under its own name.
    check_size : called with height and width in pixels before anything is decoded; raises when they are refused

    Returns
    -------
    (Y, X) or, for colour, (Y, X, S) array of the file's type
    """
    import tifffile

    try:
        # A file names its siblings in its own header; reading those would be reading files that nobody listed.
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            _check_pages(tiff)
            _check_named_planes(tiff)
            return _read_series(tiff, plane, check_size)
    except ImageError:
        raise
    except _DAMAGED as error:
        raise ImageError(f"not a readable TIFF file ({_first_line(error)}); it may be truncated") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _check_pages(tiff: Any) -> None:
    """Follow the chain of pages, which in a damaged file may lead back to itself, before anything goes through it."""
    form, file = tiff.tiff, tiff.filehandle
    seen: set[int] = set()

    def number_at(place: int, size: int, layout: str) -> int:
        file.seek(place)
        data = file.read(size)
        return int(struct.unpack(layout, data)[0]) if len(data) == size else 0

    page = number_at(8 if form.version == 43 else 4, form.offsetsize, form.offsetformat)
    while page:
        if page in seen:
            raise ImageError("its pages repeat without end, so it is damaged; save it again")
        seen.add(page)
        if len(seen) > MAX_PAGES:
            raise ImageError(f"it has more than {MAX_PAGES:,} pages; save each field as a file of its own")
        tags = number_at(page, form.tagnosize, form.tagnoformat)
        page = number_at(page + form.tagnosize + tags * form.tagsize, form.offsetsize, form.offsetformat)


def _check_named_planes(tiff: Any) -> None:
    """Planes that a header claims cost time and memory each, whether they are there or not."""
    named = 0
    if tiff.ome_metadata:
        for pixels in ElementTree.fromstring(tiff.ome_metadata).iterfind(".//{*}Pixels"):
            named += prod(max(1, int(pixels.get(f"Size{axis}", "1"))) for axis in "CZT")
    elif tiff.imagej_metadata:
        named = int(tiff.imagej_metadata.get("images", 1))
    if named > MAX_NAMED_PLANES:
        raise ImageError(
            f"its header claims {named:,} planes, {MAX_NAMED_PLANES:,} are allowed; save each field as a file of its own"
        )


def _read_series(tiff: Any, plane: Plane, check_size: Callable[[int, int], None]) -> np.ndarray:
    for page in tiff.pages[:1]:
        check_size(page.imagelength, page.imagewidth)
        if page.samplesperpixel * page.imagedepth > MAX_SAMPLES:
            raise ImageError(
                f"a page holds {page.samplesperpixel * page.imagedepth:,} samples a pixel; save planes as pages"
            )
    series = tiff.series[0]
    if sum(other.shape == series.shape for other in tiff.series) > 1 and len(tiff.pages) > 1:
        raise ImageError(f"the file holds {len(tiff.series)} images (positions); save each field as a file of its own")
    axes, shape = series.axes, series.shape
    if "Y" not in axes or "X" not in axes:
        raise ImageError(f"axes {axes} of the TIFF have no Y and X")
    check_size(shape[axes.index("Y")], shape[axes.index("X")])
    if len(tiff.pages) == 1 and tiff.pages[0].axes in ("YX", "YXS", "SYX") and series.size > tiff.pages[0].size:
        # Either one file of a set written together, which names the whole set, or all planes under one page (ImageJ).
        if series.dataoffset is None:
            return _take_sample(tiff.pages[0].asarray(), tiff.pages[0].axes, plane, named_c="C" in axes)
        return _take(series.asarray(out="memmap"), axes, plane)
    leading = [(axis, size) for axis, size in zip(axes, shape, strict=True) if axis not in "YXS"]
    choices, named_c = _choose(leading, plane)
    inner = "".join(axis for axis in axes if axis in "YXS")
    if len(series.pages) != int(np.prod([size for _, size in leading], dtype=np.int64)):
        return _take(series.asarray(), axes, plane)

    def read(index: tuple[int, ...]) -> np.ndarray:
        page = series.pages[int(np.ravel_multi_index(index, [size for _, size in leading])) if leading else 0]
        if page is None:
            raise ImageError("the plane lies in another file of a set of OME-TIFFs; name that file in the sheet")
        return _take_sample(page.asarray(), inner, plane, named_c)

    return _project((read(index) for index in product(*choices)), plane)


def _take(data: np.ndarray, axes: str, plane: Plane) -> np.ndarray:
    """Take a plane out of a whole series in memory (or mapped from the file)."""
    order = sorted(range(len(axes)), key=lambda number: axes[number] in "YXS")
    data = np.transpose(data, order)
    leading = [(axes[number], data.shape[rank]) for rank, number in enumerate(order) if axes[number] not in "YXS"]
    inner = "".join(axes[number] for number in order if axes[number] in "YXS")
    choices, named_c = _choose(leading, plane)
    return _project(
        (_take_sample(np.asarray(data[index]), inner, plane, named_c) for index in product(*choices)), plane
    )


def _choose(leading: list[tuple[str, int]], plane: Plane) -> tuple[list[range], bool]:
    """Choose along the axes before Y and X.

    Returns
    -------
    choices : for each axis the indices to read: one, or all depths when they are projected
    named_c : whether c chooses among them, and not among the samples of a colour picture
    """
    wanted: dict[str, int | str | None] = {"C": plane.c, "Z": plane.z, "T": plane.t}
    named = {axis for axis, _ in leading}
    spare = [axis for axis, value in wanted.items() if value is not None and axis not in named]
    choices = []
    for axis, size in leading:
        letter = axis
        if axis in _UNNAMED and size > 1 and spare:
            letter = spare.pop(0)
        # A single channel may be in colour, and then c names a sample.
        value = None if letter == "C" and size == 1 else wanted.pop(letter, None)
        if value in ("max", "best_focus"):
            choices.append(range(size))
        elif isinstance(value, int):
            if value >= size:
                raise ImageError(f"plane {letter.lower()}={value} is outside the file, which has 0 to {size - 1}")
            choices.append(range(value, value + 1))
        elif size == 1:
            choices.append(range(1))
        else:
            raise ImageError(_how_to_name(letter, size))
    for letter, value in wanted.items():
        # c may still name a sample of a colour picture; the last index of an absent axis is 0.
        if isinstance(value, int) and value > 0 and letter != "C":
            raise ImageError(f"plane {letter.lower()}={value} is outside the file, which has only {letter.lower()}=0")
    return choices, "C" not in wanted and plane.c is not None


def _how_to_name(letter: str, size: int) -> str:
    kinds = {"C": ("channels", "c"), "Z": ("depths", "z"), "T": ("times", "t")}
    if letter in kinds:
        name, key = kinds[letter]
        project = ", #z=max or #z=best_focus" if key == "z" else ""
        return f"the file holds {size} {name}; say which by adding #{key}=0 to #{key}={size - 1}{project} to the path"
    if letter in _UNNAMED:
        return (
            f"the file holds {size} pages that it does not name; say which by adding #c=0 to #c={size - 1} (channels) "
            "or #z=max, #z=best_focus or #z=n (depths) to the path"
        )
    return (
        f"the file has {size} entries along axis {letter}, which cannot be chosen from; save the plane as its own file"
    )


def _take_sample(data: np.ndarray, inner: str, plane: Plane, named_c: bool) -> np.ndarray:
    """Order as (Y, X[, S]) and take the sample that c names, unless c names a channel of the file."""
    data = np.transpose(data, [inner.index(axis) for axis in "YXS" if axis in inner])
    if data.ndim == 3 and plane.c is not None and not named_c:
        if plane.c >= data.shape[-1]:
            raise ImageError(f"plane c={plane.c} is outside the picture, which has 0 to {data.shape[-1] - 1}")
        return data[..., plane.c]
    if data.ndim == 2 and plane.c and not named_c:
        raise ImageError(f"plane c={plane.c} is outside the file, which has only c=0")
    return data


def _project(depths: Iterator[np.ndarray], plane: Plane) -> np.ndarray:
    """One plane from its depths, of which no more than two are held at a time."""
    best = next(depths)
    if plane.z == "best_focus":
        return max(chain([best], depths), key=sharpness)
    for depth in depths:
        best = np.maximum(best, depth)
    return best


def sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al., ICPR 2000); of a colour picture, of its samples' maximum."""
    from scipy.ndimage import laplace

    grey = image.max(axis=-1) if image.ndim == 3 else image
    return float(laplace(grey.astype(np.float32)).var(dtype=np.float64))
