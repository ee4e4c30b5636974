"""Cell bodies by watershed from the nuclei, for stains that no network was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

SMOOTHING_UM = 1.0
REACH_UM = 25.0
"""How far a body may reach from its nucleus."""

RIM_UM, SHARE_OF_RIM = 3.0, 0.4
"""A body ends where the stain falls below this share of what it is around the nucleus: bright and dim cells alike."""

DISTANCE_WEIGHT = 0.3
"""How much of the landscape is distance to the nucleus: with stain alone, a bright cell floods its dim neighbours."""


def watershed_bodies(
    nuclei: NDArray[np.integer], stains: NDArray[np.float32], *, um_per_px: float
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Grow nuclei over the stain of the cell body.

    The landscape falls with the mean of the stains and rises with the distance to the nuclei, so that borders lie in
    dark valleys where there are any, and halfway between nuclei where there are none.

    Parameters
    ----------
    nuclei : (Y, X) labels, 0 is background
    stains : (S, Y, X) normalised to about 0..1: microtubules, ER, or both
    um_per_px : pixel size

    Returns
    -------
    bodies : (Y, X) int32 with the ids of the nuclei
    foreground : (Y, X) what belongs to any body
    """
    stain = ndimage.gaussian_filter(stains.mean(axis=0), SMOOTHING_UM / um_per_px)
    distance_um = ndimage.distance_transform_edt(nuclei == 0) * um_per_px
    landscape = DISTANCE_WEIGHT * distance_um / REACH_UM - (1 - DISTANCE_WEIGHT) * stain
    basins = watershed(landscape, markers=nuclei, mask=distance_um <= REACH_UM)
    rims = np.where((distance_um > 0) & (distance_um <= RIM_UM), basins, 0)
    ids = np.arange(nuclei.max() + 1)
    typical = np.nan_to_num(ndimage.median(stain, rims, ids), nan=np.inf)
    foreground = (stain > SHARE_OF_RIM * typical[basins]) & (basins > 0) | (nuclei > 0)
    return np.where(foreground, basins, 0).astype(np.int32), foreground
