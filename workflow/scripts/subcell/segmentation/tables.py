"""Tables that segmentation writes: a row a cell, a row a field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from subcell.channels import CHANNELS
from subcell.replacing import replacing

CELLS_SCHEMA = pa.schema(
    [("field_id", pa.string()), ("label", pa.int64()), ("cell_id", pa.string())]
    + [(name, pa.float64()) for name in ("nucleus_area_um2", "cell_area_um2", "centroid_y_px", "centroid_x_px")]
    + [(name, pa.int64()) for name in ("bbox_y0_px", "bbox_x0_px", "bbox_y1_px", "bbox_x1_px")]
    + [("touches_border", pa.bool_())]
    + [(f"mean_{channel}", pa.float64()) for channel in CHANNELS]
    + [("dna_intensity", pa.float64()), ("nuclei", pa.int64()), ("cell_body", pa.string())]
)
"""A row a cell; the box is that of the cell, its upper ends exclusive; the mean of a missing channel is NaN.
`dna_intensity` is the mean of the DNA channel in the nucleus, `nuclei` how many the cell has, and `cell_body` the stains
from which its outline comes."""

QC_SCHEMA = pa.schema(
    [("field_id", pa.string()), ("status", pa.string()), ("reason", pa.string())]
    + [(name, pa.int64()) for name in ("cells", "touching_border")]
    + [(name, pa.float64()) for name in ("nucleus_area_um2", "cell_area_um2", "focus", "saturated_fraction")]
    + [("constant_channels", pa.string())]
    + [("plate", pa.string()), ("cell_body", pa.string()), ("multinucleated", pa.int64())]
    + [(name, pa.float64()) for name in ("border_fraction", "dna_intensity", "nucleus_diameter_um", "covered_fraction")]
    + [(f"background_{channel}", pa.float64()) for channel in CHANNELS]
    + [("pixel_size_um", pa.float64()), ("pixel_size_source", pa.string()), ("pixel_size_warning", pa.string())]
    + [("bit_depth", pa.int64()), ("stretched_channels", pa.string()), ("camera_offset", pa.string())]
    + [("agreement_f1", pa.float64())]
)
"""A row a field; areas, diameter and DNA intensity are medians over its cells, backgrounds the 1st percentile of a
channel. Backgrounds and the saturated share are of the pixels before any correction. `stretched_channels` reach from 0 to
full scale, as images for display do; `camera_offset` is what was subtracted, counts by channel; `agreement_f1` that of the
cells of two segmenters, NaN with one."""


def write_table(rows: list[dict[str, Any]], schema: pa.Schema, path: str | Path) -> pd.DataFrame:
    """Write rows as parquet, whole or not at all.

    Returns
    -------
    DataFrame of the rows, with the columns of `schema`
    """
    table = pa.Table.from_pylist(rows, schema=schema)
    with replacing(path) as to:
        pq.write_table(table, to, compression="zstd")
    return table.to_pandas()
