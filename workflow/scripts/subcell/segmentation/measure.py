"""Measures of cells and of fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from subcell.channels import CHANNELS
from subcell.imaging.camera import CAMERA_BITS
from subcell.segmentation.scaling import resize_image

FOCUS_UM_PER_PX = 0.32
"""Pixel size at which focus is measured: finer pixels would change it, not only the lens."""


def measure_cells(
    image: NDArray[Any],
    nuclei: NDArray[np.integer],
    cells: NDArray[np.integer],
    *,
    field_id: str,
    present: Sequence[str],
    pixel_size_um: float,
    nuclei_in_cell: NDArray[np.integer] | None = None,
    cell_body: str = "",
) -> list[dict[str, Any]]:
    """Measure every cell of a field.

    Parameters
    ----------
    image : (4, Y, X)
    nuclei, cells : (Y, X) labels from 1 to n, the same ids in both
    field_id : the field
    present : channels that it has; the mean of another is NaN
    pixel_size_um : microns a pixel
    nuclei_in_cell : (n,) how many nuclei each cell has; one each when None
    cell_body : the stains from which the cells' outlines come

    Returns
    -------
    one dict a cell, ascending labels: areas in square microns, centroid and box of the cell in pixels (upper ends of
    the box exclusive), whether the cell lies at the edge of the field, mean intensity of each channel in the cell, of
    DNA in its nucleus, and number of nuclei
    """
    dna = image[CHANNELS.index("nucleus")]
    windows = ndimage.find_objects(cells)
    pixels = np.bincount(nuclei.ravel(), minlength=len(windows) + 1)
    rows = []
    for label, window in enumerate(windows, start=1):
        if window is None:
            continue
        inside = cells[window] == label
        area_px = int(inside.sum())
        y, x = np.nonzero(inside)
        rows.append(
            {
                "field_id": field_id,
                "label": label,
                "cell_id": f"{field_id}:{label}",
                "nucleus_area_um2": float(pixels[label]) * pixel_size_um**2,
                "cell_area_um2": area_px * pixel_size_um**2,
                "centroid_y_px": float(y.mean()) + window[0].start,
                "centroid_x_px": float(x.mean()) + window[1].start,
                "bbox_y0_px": window[0].start,
                "bbox_x0_px": window[1].start,
                "bbox_y1_px": window[0].stop,
                "bbox_x1_px": window[1].stop,
                "touches_border": bool(
                    min(window[0].start, window[1].start) == 0
                    or window[0].stop == cells.shape[0]
                    or window[1].stop == cells.shape[1]
                ),
                **{
                    f"mean_{channel}": float(image[number][window][inside].mean()) if channel in present else np.nan
                    for number, channel in enumerate(CHANNELS)
                },
                "dna_intensity": float(dna[window][nuclei[window] == label].mean()) if pixels[label] else np.nan,
                "nuclei": 1 if nuclei_in_cell is None else int(nuclei_in_cell[label - 1]),
                "cell_body": cell_body,
            }
        )
    return rows


def field_quality(
    image: NDArray[Any], present: Sequence[str], cells: Sequence[dict[str, Any]], *, pixel_size_um: float
) -> dict[str, Any]:
    """Numbers that tell a bad field from a good one.

    Returns
    -------
    cells, touching_border : how many
    nucleus_area_um2, cell_area_um2 : medians, NaN without cells
    focus : variance of the Laplacian of the DNA channel at 0.32 um a pixel over the variance of the channel; it falls
        as the field gets out of focus and does not depend on brightness
    multinucleated, border_fraction : cells with several nuclei; share of cells that touch the border
    dna_intensity : median over cells of the mean of DNA in the nucleus
    nucleus_diameter_um : of a disc as large as the median nucleus that the border does not cut
    covered_fraction : share of the field that cells cover
    """
    whole = [cell["nucleus_area_um2"] for cell in cells if not cell["touches_border"] and cell.get("nuclei", 1) == 1]
    field_um2 = image.shape[1] * image.shape[2] * pixel_size_um**2
    return {
        "multinucleated": sum(cell.get("nuclei", 1) > 1 for cell in cells),
        "border_fraction": float(np.mean([cell["touches_border"] for cell in cells])) if cells else np.nan,
        "dna_intensity": _median([cell.get("dna_intensity", np.nan) for cell in cells]),
        "nucleus_diameter_um": float(2 * np.sqrt(_median(whole) / np.pi)),
        "covered_fraction": sum(cell["cell_area_um2"] for cell in cells) / field_um2 if present else np.nan,
        "cells": len(cells),
        "touching_border": sum(cell["touches_border"] for cell in cells),
        "nucleus_area_um2": _median([cell["nucleus_area_um2"] for cell in cells]),
        "cell_area_um2": _median([cell["cell_area_um2"] for cell in cells]),
        "focus": _focus(image[CHANNELS.index("nucleus")], pixel_size_um) if "nucleus" in present else np.nan,
    }


def picture_quality(image: NDArray[Any], present: Sequence[str]) -> dict[str, float]:
    """Numbers of a field's pixels as the camera gave them: once an offset is subtracted, nothing is at full scale.

    Returns
    -------
    saturated_fraction : the largest share, over channels, of pixels at full scale of their type or
        camera
    background_<channel> : 1st percentile of the channel, NaN of a channel that is missing
    """
    return {
        "saturated_fraction": max((_saturated(image[CHANNELS.index(channel)]) for channel in present), default=0.0),
        **{
            f"background_{channel}": float(np.percentile(image[number], 1)) if channel in present else np.nan
            for number, channel in enumerate(CHANNELS)
        },
    }


def constant_channels(image: NDArray[Any], present: Sequence[str]) -> tuple[str, ...]:
    """Channels that the field has, but that have the same value everywhere."""
    return tuple(
        channel
        for number, channel in enumerate(CHANNELS)
        if channel in present and image[number].min() == image[number].max()
    )


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else np.nan


def _focus(plane: NDArray[Any], pixel_size_um: float) -> float:
    factor = pixel_size_um / FOCUS_UM_PER_PX
    shape = (max(3, round(plane.shape[0] * factor)), max(3, round(plane.shape[1] * factor)))
    small = resize_image(plane[None], shape)[0]
    variance = small.var()
    return float(cv2.Laplacian(small, cv2.CV_32F).var() / variance) if variance > 0 else np.nan


def _saturated(plane: NDArray[Any]) -> float:
    """Share of saturated pixels: those at full scale of their type or, where none is brighter, of a camera of fewer bits."""
    if plane.dtype.kind != "u" or not plane.size:
        return 0.0
    highest = int(plane.max())
    bits = CAMERA_BITS if plane.dtype == np.uint16 else (8 * plane.dtype.itemsize,)
    return float((plane == highest).mean()) if highest in {2**each - 1 for each in bits} else 0.0
