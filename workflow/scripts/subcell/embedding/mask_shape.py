"""Shape of a mask, without regard to what is inside."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops

SHAPES = (
    *("area", "area_convex", "axis_major_length", "axis_minor_length", "eccentricity", "equivalent_diameter_area"),
    *("extent", "perimeter", "solidity"),
)
"""Properties of scikit-image's `regionprops`, all in pixels of the crop; none depends on how the cell lies."""

MASK_SHAPES = (*SHAPES, "form_factor", "radius_mean", "radius_max")


def mask_shape(mask: NDArray[Any], *, depth: NDArray[np.float32]) -> NDArray[np.float64]:
    """Measure one mask.

    Parameters
    ----------
    mask : (H, W) array, zero outside
    depth : (H, W) distance of each pixel in the mask to its edge, in pixels

    Returns
    -------
    (len(MASK_SHAPES),) float64; zeros for an empty mask. `form_factor` is 4 pi area / perimeter^2, 1 for a disc.
    """
    inside = mask != 0
    if not inside.any():
        return np.zeros(len(MASK_SHAPES))
    with warnings.catch_warnings():
        # Masks of one line of pixels have no convex hull; scikit-image says so and returns their area.
        warnings.simplefilter("ignore", UserWarning)
        region = regionprops(inside.astype(np.uint8))[0]
        values = [float(region[name]) for name in SHAPES]
    perimeter = max(values[SHAPES.index("perimeter")], 1.0)
    form_factor = 4 * np.pi * values[SHAPES.index("area")] / perimeter**2
    return np.array([*values, form_factor, depth[inside].mean(), depth[inside].max()])
