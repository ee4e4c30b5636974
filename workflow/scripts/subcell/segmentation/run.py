"""Segment the fields of a shard and measure their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subcell.channels import CHANNELS
from subcell.errors import ImageError, ShapeError
from subcell.imaging.read import read_field, read_ledger
from subcell.segmentation.flows import is_out_of_memory
from subcell.segmentation.masks import create_masks
from subcell.segmentation.measure import constant_channels, field_quality, measure_cells
from subcell.segmentation.segmenter import Segmenter
from subcell.segmentation.tables import CELLS_SCHEMA, QC_SCHEMA, write_table

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def segment_fields(
    images_dir: str | Path,
    fields: pd.DataFrame,
    segmenter: Segmenter,
    masks_path: str | Path,
    cells_path: str | Path,
    qc_path: str | Path,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Label nuclei and cells in every field of a shard, measure the cells, and note the quality of the fields.

    A field whose images cannot be used is set aside: it has a row with the reason in the table of quality and no label
    images, and the others go on.

    Parameters
    ----------
    images_dir : folder with the images of the shard and their ledger
    fields : table of fields, see `subcell.catalog.fields`
    segmenter : finds nuclei and cells
    masks_path : folder of label images to write (zarr)
    cells_path : table of cells to write (parquet, `CELLS_SCHEMA`)
    qc_path : table of fields to write (parquet, `QC_SCHEMA`)
    progress : wraps the loop over fields, as tqdm does

    Returns
    -------
    DataFrame of the fields, as written to `qc_path`; status is "ok", "no cells" or "set aside"
    """
    ledger = read_ledger(images_dir)
    cells: list[dict[str, Any]] = []
    quality: list[dict[str, Any]] = []
    # In the order of their ids, so that the files do not depend on the order of a sheet.
    todo = fields.sort_values("field_id")[["field_id", "pixel_size_um"]].itertuples(index=False)
    rows = list(todo)
    with create_masks(masks_path) as masks:
        for field in progress(rows) if progress else rows:
            try:
                image, present = read_field(images_dir, ledger, field.field_id)
                nuclei, labels = segmenter.segment(image, present, field.pixel_size_um)
            except (ImageError, ShapeError) as problem:
                quality.append(_set_aside(field.field_id, _download_reason(ledger, field.field_id) or str(problem)))
                continue
            except (MemoryError, RuntimeError) as problem:
                if not is_out_of_memory(problem):
                    raise
                size = f"{image.shape[1]} x {image.shape[2]} pixels"
                quality.append(_set_aside(field.field_id, f"memory does not suffice for a field of {size}"))
                continue
            masks.append(field.field_id, nuclei, labels, pixel_size_um=field.pixel_size_um)
            measured = measure_cells(
                image, nuclei, labels, field_id=field.field_id, present=present, pixel_size_um=field.pixel_size_um
            )
            cells.extend(measured)
            constant = constant_channels(image, present)
            no_cells = "the nucleus channel is constant" if "nucleus" in constant else "no cell was found"
            quality.append(
                {
                    "field_id": field.field_id,
                    "status": "ok" if measured else "no cells",
                    "reason": "" if measured else no_cells,
                    "constant_channels": ";".join(constant),
                    **field_quality(image, present, measured, pixel_size_um=field.pixel_size_um),
                }
            )
    write_table(cells, CELLS_SCHEMA, cells_path)
    return write_table(quality, QC_SCHEMA, qc_path)


def _set_aside(field_id: str, reason: str) -> dict[str, Any]:
    return {
        "field_id": field_id,
        "status": "set aside",
        "reason": reason,
        "cells": 0,
        "touching_border": 0,
        "nucleus_area_um2": np.nan,
        "cell_area_um2": np.nan,
        "focus": np.nan,
        "saturated_fraction": np.nan,
        "constant_channels": "",
    }


def _download_reason(ledger: pd.DataFrame, field_id: str) -> str:
    """Why the images of a field did not arrive; empty where they did."""
    rows = ledger[(ledger["field_id"] == field_id) & (ledger["channel"].isin(CHANNELS)) & (ledger["status"] != "ok")]
    return "; ".join(f"{row.channel}: {row.reason}" for row in rows.itertuples(index=False))
