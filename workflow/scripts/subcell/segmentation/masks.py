"""Label images of a shard in one zarr 3 folder, as OME-Zarr 0.5 labels.

`<shard>.zarr/<number>/labels/nuclei/0` and `.../cells/0` are the arrays of a field, without a pyramid: 0 is background,
int32 as scikit-image has them. napari-ome-zarr opens `<shard>.zarr/<number>/labels` at the field's pixel size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from subcell.damage import read_array
from subcell.errors import ImageError, ShapeError
from subcell.replacing import replacing

OME_VERSION = "0.5"

LARGEST_CHUNK_PX = 4096
"""Ordinary fields are one chunk, hence one file; reading a field always reads all of it."""


class MaskStore:
    """Label images that were written by `create_masks`.

    Attributes
    ----------
    field_ids : tuple of the fields that have label images, in the order in which they were written
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._root = zarr.open_group(self.path, mode="r")
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise ImageError(f"{self.path}: no folder of label images ({error})") from error
        self._groups: dict[str, str] = {
            str(self._root[name].attrs["field_id"]): name for name in sorted(self._root.group_keys())
        }

    @property
    def field_ids(self) -> tuple[str, ...]:
        return tuple(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def labels(self, field_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Read the label images of one field.

        Returns
        -------
        nuclei, cells : (Y, X) int32 of the field's own size, 0 is background, one id per cell

        Raises
        ------
        ImageError : the field has no label images here
        FileNotFoundError : a part of them was deleted
        """
        group = self._group(field_id)
        return read_array(group["labels/nuclei/0"]), read_array(group["labels/cells/0"])

    def pixel_size_um(self, field_id: str) -> float:
        """Microns a pixel of a field's label images."""
        return float(self._group(field_id).attrs["pixel_size_um"])

    def _group(self, field_id: str) -> Any:
        if field_id not in self._groups:
            raise ImageError(
                f"{self.path}: no label images of the field {field_id}; it was set aside or is of another shard"
            )
        return self._root[self._groups[field_id]]


def open_masks(path: str | Path) -> MaskStore:
    """Open the label images of a shard for reading.

    Raises
    ------
    ImageError : no such folder, or not one of label images
    """
    return MaskStore(path)


class MaskWriter:
    """Adds label images field by field; see `create_masks`."""

    def __init__(self, root: zarr.Group) -> None:
        self._root = root
        self._written = 0

    def append(self, field_id: str, nuclei: np.ndarray, cells: np.ndarray, *, pixel_size_um: float) -> None:
        """Add one field.

        Parameters
        ----------
        nuclei, cells : (Y, X) integers, 0 is background, one id per cell
        pixel_size_um : microns a pixel

        Raises
        ------
        ShapeError : `nuclei` and `cells` differ in size
        """
        if nuclei.shape != cells.shape or nuclei.ndim != 2:
            raise ShapeError(f"field {field_id}: nuclei have the shape {nuclei.shape}, cells {cells.shape}")
        group = self._root.create_group(f"{self._written:05d}")
        group.attrs.update({"field_id": field_id, "pixel_size_um": float(pixel_size_um)})
        images = {"nuclei": nuclei, "cells": cells}
        parent = group.create_group("labels", attributes={"ome": {"version": OME_VERSION, "labels": list(images)}})
        for name, labels in images.items():
            array = parent.create_group(name, attributes={"ome": _about(name, pixel_size_um)}).create_array(
                "0",
                shape=labels.shape,
                chunks=tuple(max(1, min(side, LARGEST_CHUNK_PX)) for side in labels.shape),
                dtype="int32",
                # Blosc itself takes many a changed bit for another label.
                compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
                dimension_names=("y", "x"),
                config={"write_empty_chunks": True},  # so that one which is gone can be told from background
            )
            array[:] = labels
        self._written += 1


def _about(name: str, pixel_size_um: float) -> dict[str, Any]:
    """OME-Zarr's description of a label image of one resolution."""
    scale = [{"type": "scale", "scale": [float(pixel_size_um)] * 2}]
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    return {
        "version": OME_VERSION,
        "multiscales": [{"name": name, "axes": axes, "datasets": datasets}],
        "image-label": {},
    }


@contextmanager
def create_masks(path: str | Path) -> Iterator[MaskWriter]:
    """Open a new folder of label images; it gets its name when the `with` block ends without an error.

    Parameters
    ----------
    path : folder to write; an existing one is replaced
    """
    with replacing(path) as to:
        yield MaskWriter(zarr.create_group(to, zarr_format=3))
