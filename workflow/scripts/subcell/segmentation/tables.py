"""Tables that segmentation writes: a row a cell, a row a field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from subcell.channels import CHANNELS

CELLS_SCHEMA = pa.schema(
    [("field_id", pa.string()), ("label", pa.int64()), ("cell_id", pa.string())]
    + [(name, pa.float64()) for name in ("nucleus_area_um2", "cell_area_um2", "centroid_y_px", "centroid_x_px")]
    + [(name, pa.int64()) for name in ("bbox_y0_px", "bbox_x0_px", "bbox_y1_px", "bbox_x1_px")]
    + [("touches_border", pa.bool_())]
    + [(f"mean_{channel}", pa.float64()) for channel in CHANNELS]
)
"""A row a cell; the box is that of the cell, its upper ends exclusive; the mean of a missing channel is NaN."""

QC_SCHEMA = pa.schema(
    [("field_id", pa.string()), ("status", pa.string()), ("reason", pa.string())]
    + [(name, pa.int64()) for name in ("cells", "touching_border")]
    + [(name, pa.float64()) for name in ("nucleus_area_um2", "cell_area_um2", "focus", "saturated_fraction")]
    + [("constant_channels", pa.string())]
)
"""A row a field; areas are medians over its cells."""


def write_table(rows: list[dict[str, Any]], schema: pa.Schema, path: str | Path) -> pd.DataFrame:
    """Write rows as parquet, whole or not at all.

    Returns
    -------
    DataFrame of the rows, with the columns of `schema`
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=schema)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    temporary.replace(path)
    return table.to_pandas()
