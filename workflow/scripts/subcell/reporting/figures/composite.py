"""Four stains as one colour picture, with outlines and a scale bar."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray
from skimage.measure import find_contours, regionprops
from skimage.transform import resize

from subcell.channels import CHANNELS

STAIN_COLORS = {
    "microtubules": (0.95, 0.10, 0.10),
    "er": (0.40, 0.36, 0.0),
    "nucleus": (0.15, 0.25, 1.0),
    "protein": (0.10, 0.95, 0.20),
}
"""HPA's display colours; the ER fills the cell, so its yellow is kept low or it drowns the rest."""

OUTLINE_COLORS = {"cell": "#ffffff", "nucleus": "#7fe7ff"}


def stretch(plane: NDArray[Any], *, low: float = 1.0, high: float = 99.7) -> NDArray[np.float32]:
    """Scale a plane to 0..1 between two of its percentiles; a constant plane becomes 0.

    Parameters
    ----------
    plane : (..., Y, X) numbers
    low, high : percentiles over all pixels of `plane`
    """
    dark, bright = np.percentile(plane, (low, high)) if plane.size else (0.0, 0.0)
    if bright <= dark:
        # A sparse stain can be black up to its high percentile, and still show something.
        bright = float(plane.max(initial=0))
    if bright <= dark:
        return np.zeros(plane.shape, np.float32)
    return np.clip((plane.astype(np.float32) - dark) / (bright - dark), 0, 1)


def composite(planes: NDArray[Any]) -> NDArray[np.float32]:
    """Add up the four stains in their colours.

    Parameters
    ----------
    planes : (4, Y, X) numbers in 0..1, in the order of `CHANNELS`

    Returns
    -------
    (Y, X, 3) red, green, blue in 0..1
    """
    colors = np.array([STAIN_COLORS[channel] for channel in CHANNELS], np.float32)
    return np.clip(np.einsum("cyx,ck->yxk", planes, colors), 0, 1)


def shrink(image: NDArray[Any], labels: NDArray[Any], *, side_px: int) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Make a field small enough to show: pixels averaged, labels taken from the nearest pixel.

    Parameters
    ----------
    image : (C, Y, X); labels : (L, Y, X) integers
    side_px : longest side of the result

    Returns
    -------
    image : (C, y, x) float32; labels : (L, y, x); factor : native pixels in one shown pixel, at least 1
    """
    factor = max(1.0, max(image.shape[1:]) / side_px)
    size = tuple(max(1, round(side / factor)) for side in image.shape[1:])
    if factor == 1.0:
        return image.astype(np.float32), labels, 1.0
    small = [
        resize(plane.astype(np.float32), size, order=1, anti_aliasing=True, preserve_range=True) for plane in image
    ]
    rows = np.minimum(((np.arange(size[0]) + 0.5) * factor).astype(int), image.shape[1] - 1)
    columns = np.minimum(((np.arange(size[1]) + 0.5) * factor).astype(int), image.shape[2] - 1)
    return np.stack(small), labels[:, rows][:, :, columns], factor


def outline(axes: Axes, labels: NDArray[Any], *, color: str, width: float, dashed: bool = False) -> None:
    """Draw the border of every label, as lines that stay sharp at any size.

    Parameters
    ----------
    axes : axes that show the picture pixel by pixel
    labels : (Y, X) integers, 0 is background
    """
    lines = []
    for region in regionprops(labels):
        framed = np.pad(region.image, 1).astype(float)
        top, left = region.bbox[:2]
        lines += [contour[:, ::-1] + (left - 1, top - 1) for contour in find_contours(framed, 0.5)]
    style = (0, (3, 2)) if dashed else "solid"
    axes.add_collection(
        LineCollection(lines, colors=color, linewidths=width, linestyles=style, alpha=0.9), autolim=False
    )


def round_length(width_um: float, *, share: float = 0.25) -> float:
    """Longest of 1, 2, 5, 10, ... micrometres that covers at most `share` of a width."""
    largest = width_um * share
    power = 10.0 ** math.floor(math.log10(largest))
    return max(step * power for step in (1, 2, 5) if step * power <= largest * (1 + 1e-9))


def scale_bar(axes: Axes, *, width_px: int, height_px: int, um_per_px: float | None, fontsize: float = 8) -> None:
    """Draw a scale bar with its length in the lower right corner; without a pixel size, say so."""
    # Dark edges keep bar and text readable on bright cells.
    edged = [Stroke(linewidth=2.2, foreground="#000000b0"), Normal()]
    text: dict[str, Any] = {"color": "white", "fontsize": fontsize, "ha": "right", "va": "bottom", "parse_math": False}
    text["path_effects"] = edged
    right, bottom = width_px * 0.965, height_px * 0.955
    if um_per_px is None or not (math.isfinite(um_per_px) and um_per_px > 0):
        axes.text(right, bottom, "pixel size unknown", **text)
        return
    length_um = round_length(width_px * um_per_px)
    left = right - length_um / um_per_px
    axes.plot([left, right], [bottom, bottom], color="white", linewidth=3, solid_capstyle="butt", path_effects=edged)
    axes.text(right, bottom - height_px * 0.018, f"{length_um:g} µm", **text)
