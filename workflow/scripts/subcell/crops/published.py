"""Published crops as crops of ours: the channels in our order, at the scale that the configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from subcell.catalog.set_aside import set_aside_table
from subcell.channels import CHANNELS
from subcell.crops.cut import crop_cells, field_size_px
from subcell.crops.run import describer, no_cells
from subcell.crops.store import create_crops
from subcell.errors import ImageError
from subcell.imaging.rgba import read_rgba
from subcell.segmentation.measure import field_quality
from subcell.segmentation.tables import CELLS_SCHEMA, QC_SCHEMA, write_table

FIELD_SIDES_PX = (1728, 2048, 2560, 3072)
"""Sides that HPA's fields have; a box that ends there is cut by the edge of its field."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def read_crop(image_path: str | Path, mask_path: str | Path) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read a published crop.

    Its red is DNA, green ER, blue microtubules and alpha the protein: a reader that gives blue first has them in the
    order of the models, one that gives red first does not.

    Returns
    -------
    image : (4, Y, X) uint8 or uint16, `subcell.channels.CHANNELS`
    mask : (Y, X) of the cell, grown by 3 px as published

    Raises
    ------
    ImageError : not four channels, sizes that differ, or an empty mask
    """
    rgba, mask = read_rgba(image_path), read_rgba(mask_path)
    if rgba.ndim != 3 or rgba.shape[-1] != 4:
        raise ImageError(f"{image_path}: expected four channels, found an array of shape {rgba.shape}")
    mask = mask if mask.ndim == 2 else mask[..., 0]
    if mask.shape != rgba.shape[:2]:
        raise ImageError(f"{mask_path}: {mask.shape} pixels, its image has {rgba.shape[:2]}")
    if not mask.any():
        raise ImageError(f"{mask_path}: the mask is empty")
    return np.ascontiguousarray(rgba[..., [2, 1, 0, 3]].transpose(2, 0, 1)), mask > 0


def nucleus_in(dna: NDArray[Any], cell: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Nucleus of a cell, which the collection does not have: the largest part of its DNA above Otsu's threshold.

    Parameters
    ----------
    dna : (Y, X)
    cell : (Y, X) mask

    Returns
    -------
    (Y, X) mask, empty where the DNA is constant
    """
    values = dna[cell]
    if values.min() == values.max():
        return np.zeros_like(cell)
    parts, count = ndimage.label(ndimage.binary_opening((dna > threshold_otsu(values)) & cell, iterations=2))
    if not count:
        return np.zeros_like(cell)
    return np.asarray(ndimage.binary_fill_holes(parts == np.bincount(parts.ravel())[1:].argmax() + 1))


def import_crops(
    images_dir: str | Path,
    fields: pd.DataFrame,
    out_path: str | Path,
    out_cells: str | Path,
    out_qc: str | Path,
    *,
    field_um: float = 51.2,
    pixels: int = 96,
    border_cells: Literal["keep", "drop"] = "keep",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Write the published crops of a shard as a crop file, with the tables that segmentation writes of other sources.

    Parameters
    ----------
    images_dir : folder that `subcell.sources.subcell_crops.bring_crops` wrote
    fields : table of the shard's fields
    out_path : crop file
    out_cells, out_qc : parquet, `subcell.segmentation.tables.CELLS_SCHEMA` and `QC_SCHEMA`. Areas are those of the grown
        mask and of the estimated nucleus; focus is not measured.
    field_um, pixels, border_cells, progress : see `subcell.crops.run.crop_fields`

    Returns
    -------
    DataFrame of fields of which a cell was left out (columns of `subcell.catalog.set_aside`)
    """
    cells = pd.read_parquet(Path(images_dir) / "cells.parquet")
    by_field = dict(tuple(cells.groupby("field_id", sort=False)))
    measured: list[dict[str, Any]] = []
    quality: list[dict[str, Any]] = []
    set_aside: list[dict[str, object]] = []
    todo = fields.sort_values("field_id").to_dict("records")
    with create_crops(out_path, field_um=field_um, pixels=pixels) as writer:
        writer.append(*no_cells(pd.DataFrame(columns=CELLS_SCHEMA.names), pixels))
        for field in progress(todo) if progress else todo:
            table = by_field.get(field["field_id"], cells.iloc[:0])
            describe = describer(field, CHANNELS, cells_in_field=len(table))
            rows = []
            for cell in table.to_dict("records"):
                try:
                    row, crop, clipped = _one_cell(Path(images_dir), field, cell, field_um, pixels)
                except ImageError as problem:
                    reason = f"cell {cell['cell']}: {problem}"
                    set_aside.append({"field_id": field["field_id"], "stage": "crop", "reason": reason})
                    continue
                rows.append(row)
                if border_cells == "keep" or not row["touches_border"]:
                    writer.append(crop, describe(pd.DataFrame([row]), clipped))
            measured += rows
            nothing = np.zeros((len(CHANNELS), 1, 1), np.uint8)
            about = field_quality(nothing, (), rows, pixel_size_um=field["pixel_size_um"])
            status = "ok" if rows else "no cells"
            names = {"field_id": field["field_id"], "status": status, "reason": "", "constant_channels": ""}
            quality.append(about | names)
    write_table(measured, CELLS_SCHEMA, out_cells)
    write_table(quality, QC_SCHEMA, out_qc)
    return set_aside_table(set_aside)


def _one_cell(
    folder: Path, field: dict[str, Any], cell: dict[str, Any], field_um: float, pixels: int
) -> tuple[dict[str, Any], NDArray[Any], NDArray[np.float32]]:
    image, mask = read_crop(folder / cell["cell_image"], folder / cell["cell_mask"])
    nucleus = nucleus_in(image[CHANNELS.index("nucleus")], mask)
    um = field["pixel_size_um"]
    crop, _, clipped = crop_cells(
        image,
        nucleus.astype(np.int32),
        mask.astype(np.int32),
        field_px=field_size_px(field_um, um, pixels),
        out_px=pixels,
        dilate_px=0,  # they were grown when they were published
    )
    box = [cell[name] for name in ("row_start", "column_start", "row_stop", "column_stop")]
    row = {
        "field_id": field["field_id"],
        "label": cell["cell"],
        "cell_id": f"{field['field_id']}:{cell['cell']}",
        "nucleus_area_um2": float(nucleus.sum()) * um**2,
        "cell_area_um2": float(mask.sum()) * um**2,
        "centroid_y_px": (box[0] + box[2]) / 2,
        "centroid_x_px": (box[1] + box[3]) / 2,
        **dict(zip(("bbox_y0_px", "bbox_x0_px", "bbox_y1_px", "bbox_x1_px"), box, strict=True)),
        "touches_border": min(box[:2]) <= 0 or bool({*box[2:]} & {*FIELD_SIDES_PX}),
        **{f"mean_{name}": float(plane[mask].mean()) for name, plane in zip(CHANNELS, image, strict=True)},
    }
    return row, crop, clipped
