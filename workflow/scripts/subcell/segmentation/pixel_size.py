"""Whether a field's pixel size can be right, judged by the nuclei that were found with it.

Copies of images that were made smaller keep a nominal pixel size that may be off by half. A single field shows that only
where it makes nuclei of a size that no cell line has: nuclei of 12 to 17 um measured half too large are still within the
range. Beside other fields of its line it shows it better, as long as most of them are right; an error that all fields of a
dataset share, or of a field with few nuclei, cannot be seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

NUCLEUS_DIAMETERS_UM = (9.5, 26.0)
"""Medians of a field outside this range hint at a wrong pixel size, whatever the other fields show."""

DIAMETER_FACTOR = 1.35
"""How far a field's median diameter may lie from that of its line: less than the 1.5 of a wrong copy."""

FEWEST_NUCLEI = 4
"""Fewer whole nuclei say little of a pixel size."""

FEWEST_FIELDS = 5
"""A line with fewer fields is compared with the dataset."""


def pixel_size_warning(whole_nuclei: int, *, diameter_um: float, pixel_size_um: float) -> str:
    """What is implausible about a field's pixel size, judged by it alone; empty where nothing is.

    Parameters
    ----------
    whole_nuclei : how many are not cut by the border
    diameter_um : their median diameter
    pixel_size_um : microns a pixel, with which it was measured
    """
    low, high = NUCLEUS_DIAMETERS_UM
    if whole_nuclei < FEWEST_NUCLEI or not np.isfinite(diameter_um) or low <= diameter_um <= high:
        return ""
    side, way = ("small", "larger") if diameter_um < low else ("large", "smaller")
    return f"nuclei are {diameter_um:.1f} um wide, too {side} for {pixel_size_um:g} um a pixel; the true pixel size may be {way}"


def beside_other_fields(qc: pd.DataFrame, cell_lines: Sequence[str]) -> list[str]:
    """What is implausible about each field's pixel size beside the other fields of its cell line.

    Parameters
    ----------
    qc : one row a field of one dataset, `subcell.segmentation.tables.QC_SCHEMA`
    cell_lines : the line of each row; "" where it is not known

    Returns
    -------
    a text for each row, empty where nothing is implausible or too few nuclei or fields are there to say
    """
    line = pd.Series(list(cell_lines), qc.index, dtype=object)
    told = (qc["status"] == "ok") & (qc["cells"] - qc["touching_border"] >= FEWEST_NUCLEI)
    diameters = qc["nucleus_diameter_um"].where(told).astype(float)
    known = diameters.groupby(line).transform("count") >= FEWEST_FIELDS
    group = line.where(known & (line != ""), "")
    usual = diameters.groupby(group).transform("median")
    # Those of small or unknown lines are too few to be each other's measure.
    usual[group == ""] = diameters.median() if diameters.count() >= FEWEST_FIELDS else np.nan
    ratio = diameters / usual
    return [
        f"nuclei are {diameter:.1f} um wide, {times:.2g} times those of {name or 'the dataset'}; "
        f"the true pixel size may be {'smaller' if times > 1 else 'larger'}"
        if max(times, 1 / times) > DIAMETER_FACTOR
        else ""
        for diameter, times, name in zip(diameters, ratio, group, strict=True)
    ]
