"""Cut the cells of a shard of fields into one crop file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from subcell.catalog.fields import DESCRIPTION_COLUMNS
from subcell.catalog.set_aside import reason_of, set_aside_table
from subcell.channels import CHANNELS
from subcell.crops.cut import crop_cells, dilation_px, field_size_px
from subcell.crops.store import PLANES, create_crops
from subcell.errors import ImageError
from subcell.imaging.camera import NO_CORRECTION, Camera
from subcell.imaging.read import read_field, read_ledger
from subcell.segmentation.masks import open_masks

CELL_COLUMNS = (
    *("label", "nucleus_area_um2", "cell_area_um2", "touches_border"),
    *(f"mean_{name}" for name in CHANNELS),
    *("centroid_y_px", "centroid_x_px", "nuclei", "dna_intensity", "cell_body"),
)
"""What a crop keeps of the table of cells."""

BLOCK_BYTES = 64 * 2**20
"""Crops held in memory at a time; a field of thousands of cells is cut in several blocks."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def crop_fields(
    images_dir: str | Path,
    masks_path: str | Path,
    cells_path: str | Path,
    fields: pd.DataFrame,
    out_path: str | Path,
    *,
    field_um: float = 51.2,
    pixels: int = 96,
    border_cells: Literal["keep", "drop"] = "keep",
    camera: Camera = NO_CORRECTION,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Cut all cells of a shard's fields and write them to one h5sc file.

    Parameters
    ----------
    images_dir : folder with the images of the shard and their ledger
    masks_path : label images of the shard; a field without masks was set aside before and is skipped
    cells_path : parquet table of the shard's cells
    fields : table of the shard's fields
    out_path : crop file; a shard without cells gives a file without rows
    field_um : side of the square around a cell, in microns, the same for every pixel size of the source
    pixels : side of a crop in pixels
    border_cells : whether cells that the edge of their field cuts are written (marked in `touches_border`) or left out
    camera : corrections of the images; those with which they were segmented
    progress : wraps the loop over fields, as tqdm does

    Returns
    -------
    DataFrame of fields set aside here (columns of `subcell.catalog.set_aside`); the file holds the others

    Raises
    ------
    ImageError : label images and cells are not of the same run of segmentation
    """
    ledger = read_ledger(images_dir)
    masks = open_masks(masks_path)
    cells = pd.read_parquet(cells_path)
    cells_by_field = dict(tuple(cells.groupby("field_id", sort=False)))
    segmented = set(masks.field_ids)
    if lost := sorted(set(cells_by_field) - segmented):
        raise ImageError(
            f"{masks_path}: no label images of the field {lost[0]}, of which {cells_path} has cells; delete both and run again"
        )

    def cut(
        field: dict[str, Any], kept: pd.DataFrame, *, cells_in_field: int
    ) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
        image, present = read_field(images_dir, ledger, field["field_id"])
        image, _ = camera.correct(image, present, plate=field.get("plate"))
        nuclei, labels = masks.labels(field["field_id"])
        describe = describer(field, present, cells_in_field=cells_in_field, image_width_px=image.shape[2])
        for block in _blocks(kept, pixels=pixels, bytes_a_pixel=image.dtype.itemsize):
            images, _, clipped = crop_cells(
                image,
                np.asarray(nuclei),
                np.asarray(labels),
                field_px=field_size_px(field_um, field["pixel_size_um"], pixels),
                out_px=pixels,
                dilate_px=dilation_px(field["pixel_size_um"]),
                labels=block["label"].to_numpy(),
            )
            yield images, describe(block, clipped)

    # In the order of their ids, so that the file does not depend on the order of a sheet.
    todo = fields[fields["field_id"].isin(segmented)].sort_values("field_id").to_dict("records")
    set_aside = []
    with create_crops(out_path, field_um=field_um, pixels=pixels) as writer:
        writer.append(*no_cells(cells, pixels))
        for field in progress(todo) if progress else todo:
            table = cells_by_field.get(field["field_id"], cells.iloc[:0])
            kept = table[~table["touches_border"].astype(bool)] if border_cells == "drop" else table
            if not len(kept):
                continue
            blocks, written = cut(field, kept, cells_in_field=len(table)), 0
            while True:
                try:
                    block = next(blocks, None)
                except Exception as error:
                    reason = reason_of(error, field["field_id"], "cropping")
                    set_aside.append({"field_id": field["field_id"], "stage": "crop", "reason": reason})
                    writer.take_back(written)
                    break
                if block is None:
                    break
                # What fails here is the file that is written, not the field.
                writer.append(*block)
                written += len(block[1])
    return set_aside_table(set_aside)


def _blocks(cells: pd.DataFrame, *, pixels: int, bytes_a_pixel: int) -> list[pd.DataFrame]:
    rows = max(1, BLOCK_BYTES // (len(PLANES) * pixels * pixels * bytes_a_pixel))
    ordered = cells.sort_values("label")
    return [ordered.iloc[start : start + rows] for start in range(0, len(ordered), rows)]


def describer(
    field: dict[str, Any], present: tuple[str, ...], *, cells_in_field: int, image_width_px: float = np.nan
) -> Callable[[pd.DataFrame, np.ndarray], pd.DataFrame]:
    """A function that builds the rows of `obs` for some cells of one field."""

    def describe(cells: pd.DataFrame, clipped_fraction: np.ndarray) -> pd.DataFrame:
        columns: dict[str, Any] = {"field_id": field["field_id"]}
        columns |= {name: field.get(name) for name in (*DESCRIPTION_COLUMNS, "split", "pixel_size_source")}
        columns["pixel_size_um"] = float(field["pixel_size_um"])
        columns |= {name: cells[name].to_numpy() if name in cells else np.nan for name in CELL_COLUMNS}
        columns["clipped_fraction"] = clipped_fraction
        columns["cells_in_field"] = cells_in_field
        # Microscopes differ in it, so a map is tested against it: it should mean nothing.
        columns["image_width_px"] = float(image_width_px)
        columns["channels"] = ";".join(present)
        return pd.DataFrame(columns, index=pd.Index(cells["cell_id"].to_numpy(), name="cell_id"))

    return describe


def no_cells(cells: pd.DataFrame, pixels: int) -> tuple[np.ndarray, pd.DataFrame]:
    """No images and a table without rows, so that a shard without cells still has the columns of the others."""
    field: dict[str, Any] = dict.fromkeys(("field_id", *DESCRIPTION_COLUMNS, "split")) | {"pixel_size_um": np.nan}
    obs = describer(field, (), cells_in_field=0)(cells.iloc[:0], np.zeros(0, np.float32))
    return np.zeros((0, len(PLANES), pixels, pixels), np.uint8), obs
