"""Crop files: scPortrait's h5sc layout, an AnnData-readable HDF5 file with the images of all cells in `obsm`.

Layout as written by scPortrait 1.8 (`scportrait.io.h5sc`): `obs` one row a cell, `var` one row a channel (masks first),
`obsm/single_cell_images` (N, channels, H, W), `uns/single_cell_images` what they are. Its tools look for a cell by the
running number in `scportrait_cell_id`, and take the index of `obs` for the place of its image, so both are the row; our id
stands in the column `cell_id`. Two things differ on purpose: pixels stay integers (the source's own counts, not float16 in
[0, 1]), and a chunk is a whole cell, because every reader here wants all channels of a cell. Each chunk has a checksum that
is compared whenever it is read, and a file the hash of its content, which says whether two files hold the same cells.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, write_elem
from numpy.typing import ArrayLike, NDArray

from subcell.channels import CHANNELS
from subcell.crops.anndata_file import categories_of_text, create_anndata, join_tables, text_of_categories
from subcell.errors import ImageError, ShapeError

IMAGES = "obsm/single_cell_images"
MASKS = ("nucleus_mask", "cell_mask")
PLANES = (*MASKS, *CHANNELS)
"""What the second axis of the images holds."""

CELL_ID = "cell_id"
ROW_NUMBER = "scportrait_cell_id"
"""scPortrait finds a cell by this running number; it means nothing outside its file."""

OPEN_FILES = 64
"""A dataset may have more shards than a process may hold files open."""


@contextmanager
def create_crops(path: str | Path, *, field_um: float, pixels: int) -> Iterator[CropWriter]:
    """Open a new crop file to append cells to; it gets its name when the `with` block ends without an error.

    Parameters
    ----------
    path : file to write
    field_um : side of the square that a crop shows, in microns
    pixels : side of a crop in pixels
    """
    with create_anndata(path) as file:
        writer = CropWriter(file, str(path), field_um=field_um, pixels=pixels)
        yield writer
        writer.finish()


class CropWriter:
    """Writes the crops of one shard block by block, so that memory holds no more than a block; see `create_crops`.

    The file takes the type of its widest block: uint8 until a uint16 block arrives. Values are never rescaled.
    """

    _images: h5py.Dataset

    def __init__(self, file: h5py.File, path: str, *, field_um: float, pixels: int) -> None:
        self._file = file
        self._path = path
        self._field_um = float(field_um)
        self._pixels = int(pixels)
        self._obs: list[pd.DataFrame] = []
        self._create(np.dtype(np.uint8), rows=0)

    def append(self, images: NDArray[Any], obs: pd.DataFrame) -> None:
        """Add cells.

        Parameters
        ----------
        images : (N, 6, pixels, pixels) uint8 or uint16: nucleus mask, cell mask, then the four channels
        obs : (N, ...) one row a cell; its index is the cell_id

        Raises
        ------
        ShapeError : images and obs do not fit each other or the file
        ImageError : a pixel type other than uint8 and uint16
        """
        expected = (len(obs), len(PLANES), self._pixels, self._pixels)
        if images.shape != expected:
            raise ShapeError(f"{self._path}: {len(obs)} cells need images of shape {expected}, not {images.shape}")
        if images.dtype not in (np.uint8, np.uint16):
            raise ImageError(f"{self._path}: crops are kept as uint8 or uint16, not {images.dtype}")
        self._obs.append(obs)
        if not len(obs):
            return
        if images.dtype.itemsize > self._images.dtype.itemsize:
            self._widen(images.dtype)
        rows = self._images.shape[0]
        self._images.resize(rows + len(obs), axis=0)
        self._images[rows:] = images
        self._hash.update(images.astype(self._images.dtype.newbyteorder("<"), copy=False).tobytes())

    def take_back(self, cells: int) -> None:
        """Take out the cells that were added last, as many as some calls of `append` added."""
        if not cells:
            return
        rows = self._images.shape[0] - cells
        while cells:
            cells -= len(self._obs.pop())
        self._images.resize(rows, axis=0)
        self._hash = hashlib.sha256()
        for row in range(rows):
            self._hash.update(self._images[row].astype(self._images.dtype.newbyteorder("<")).tobytes())

    def _create(self, dtype: np.dtype[Any], *, rows: int) -> None:
        shape = (len(PLANES), self._pixels, self._pixels)
        self._hash = hashlib.sha256()
        self._images = self._file.create_dataset(
            IMAGES,
            (rows, *shape),
            dtype,
            maxshape=(None, *shape),
            chunks=(1, *shape),
            compression="lzf",
            fletcher32=True,
        )

    def _widen(self, dtype: np.dtype[Any]) -> None:
        narrow = self._images
        self._file.move(IMAGES, "narrow")
        self._create(dtype, rows=narrow.shape[0])
        for row in range(narrow.shape[0]):
            self._images[row] = narrow[row]
            self._hash.update(self._images[row].astype(self._images.dtype.newbyteorder("<")).tobytes())
        del self._file["narrow"]

    def finish(self) -> None:
        """Write everything but the images; `create_crops` calls it."""
        cells = self._images.shape[0]
        obs = join_tables(self._obs)
        repeated = obs.index[obs.index.duplicated()]
        if len(repeated):
            raise ShapeError(f"{self._path}: cell_id {repeated[0]!r} occurs twice")
        ids = obs.index.astype(str)
        self._hash.update("\n".join(ids).encode())
        obs.index = pd.RangeIndex(cells).astype(str)
        table = categories_of_text(obs)
        table[CELL_ID] = ids.to_numpy(object)
        table[ROW_NUMBER] = np.arange(cells, dtype=np.uint64)
        write_elem(self._file, "obs", table)
        mapping = ["mask"] * len(MASKS) + ["image_channel"] * len(CHANNELS)
        var = pd.DataFrame({"channels": PLANES, "channel_mapping": mapping}, index=[str(i) for i in range(len(PLANES))])
        write_elem(self._file, "var", var)
        described = {
            "n_cells": cells,
            "n_channels": len(PLANES),
            "n_masks": len(MASKS),
            "n_image_channels": len(CHANNELS),
            "image_size": self._pixels,
            "normalization": False,
            "channel_names": np.array(PLANES, dtype=object),
            "channel_mapping": np.array(mapping, dtype=object),
            "compression": "lzf",
            "field_um": self._field_um,
            "pixels": self._pixels,
            "um_per_px": self._field_um / self._pixels,
            "content_sha256": self._hash.hexdigest(),
        }
        write_elem(self._file, "uns", {"single_cell_images": described})
        attributes = {k: v for k, v in described.items() if not isinstance(v, np.ndarray)}
        attributes |= {k: [text.encode() for text in v] for k, v in described.items() if isinstance(v, np.ndarray)}
        self._images.attrs.update(attributes | {"encoding-type": "array", "encoding-version": "0.2.0"})


def content_sha256(path: str | Path) -> str:
    """Hash of what a crop file holds, from its pixels and cell_ids; equal to its `uns/single_cell_images/content_sha256`.

    Raises
    ------
    ImageError : no crop file, or one whose pixels are damaged
    """
    digest = hashlib.sha256()
    try:
        with h5py.File(path, "r") as file:
            images = file[IMAGES]
            for row in range(len(images)):
                digest.update(images[row].astype(images.dtype.newbyteorder("<")).tobytes())
            digest.update("\n".join(_with_ids(file).index.astype(str)).encode())
    except (OSError, KeyError) as problem:
        raise ImageError(f"{path}: damaged, or not a crop file ({problem}); delete it and run again") from None
    return digest.hexdigest()


def write_h5sc(path: str | Path, obs: pd.DataFrame, images: NDArray[Any], *, field_um: float) -> None:
    """Write a crop file in one go; the parameters are those of `CropWriter.append`."""
    with create_crops(path, field_um=field_um, pixels=images.shape[-1]) as writer:
        writer.append(images, obs)


class CropStore:
    """Read crops by number from one or several shard files, without ever holding more than is asked for.

    Parameters
    ----------
    paths : crop files, in the order in which their cells are counted; files without cells are fine

    Attributes
    ----------
    obs : (cells, ...) table of all files, index cell_id; text is plain text, a missing one None
    channels : names of the image channels, `subcell.channels.CHANNELS`
    pixels : side of a crop in pixels
    field_um, um_per_px : what it shows

    Notes
    -----
    Can be handed to the worker processes of a data loader, by fork or by pickle: HDF5 handles are opened by the
    process that reads, and never shared.

    Raises
    ------
    ImageError : a file is missing, is no crop file, or shows other microns or pixels than the first one
    """

    channels = CHANNELS

    def __init__(self, paths: Iterable[str | Path] | str | Path) -> None:
        self.paths = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
        if not self.paths:
            raise ImageError("no crop files given")
        tables, scales = [], []
        for path in self.paths:
            table, scale = _read_table(path)
            tables.append(table)
            scales.append(scale)
            if scale[:2] != scales[0][:2]:
                raise ImageError(
                    f"{path}: crops of {scale[0]} px over {scale[1]} um, but {self.paths[0]} has {scales[0][0]} px "
                    f"over {scales[0][1]} um; make all crops of a dataset with the same settings"
                )
        self.pixels, self.field_um = scales[0][:2]
        self.um_per_px = self.field_um / self.pixels
        self.dtype = np.result_type(*(scale[2] for scale in scales))
        self._starts = np.cumsum([0, *(len(table) for table in tables)])
        self.obs = join_tables(tables)
        self._forget_handles()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, indices: ArrayLike | Sequence[int]) -> NDArray[Any]:
        """Images of some cells.

        Parameters
        ----------
        indices : (N,) row numbers in `obs`, in any order, repeats allowed

        Returns
        -------
        images : (N, 6, pixels, pixels) uint8 or uint16, in the order asked for
        """
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"cell numbers run from 0 to {len(self) - 1}")
        images = np.empty((len(wanted), len(PLANES), self.pixels, self.pixels), self.dtype)
        # In the order of the file, a disk or a network share reads forward only.
        order = np.argsort(wanted, kind="stable")
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        for place in order:
            shard = int(shards[place])
            try:
                images[place] = self._images(shard)[wanted[place] - self._starts[shard]]
            except OSError as problem:
                path, row = self.paths[shard], wanted[place] - self._starts[shard]
                raise ImageError(f"{path}: cell {row} is damaged ({problem}); delete the file and run again") from None
        return images

    def close(self) -> None:
        """Close the files; they open again when read."""
        for file in self._handles.values():
            file.close()
        self._forget_handles()

    def _images(self, shard: int) -> h5py.Dataset:
        if self._process != os.getpid():
            # A forked worker must not read through the handles of its parent.
            self._forget_handles()
        if shard not in self._handles:
            if len(self._handles) >= OPEN_FILES:
                self._handles.popitem(last=False)[1].close()
            self._handles[shard] = h5py.File(self.paths[shard], "r")
        self._handles.move_to_end(shard)
        return self._handles[shard][IMAGES]

    def _forget_handles(self) -> None:
        self._handles: OrderedDict[int, h5py.File] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handles": OrderedDict()}


def _with_ids(file: h5py.File) -> pd.DataFrame:
    """The table of cells with our ids as its index, which files of earlier versions have by themselves."""
    obs = read_elem(file["obs"])
    return obs.set_index(CELL_ID) if CELL_ID in obs else obs


def _read_table(path: Path) -> tuple[pd.DataFrame, tuple[int, float, np.dtype[Any]]]:
    if not path.is_file():
        raise ImageError(f"{path}: no such crop file; run the crop stage first")
    try:
        with h5py.File(path, "r") as file:
            images = file[IMAGES]
            obs = _with_ids(file).drop(columns=ROW_NUMBER, errors="ignore")
            obs.index = obs.index.astype(str).astype(object)
            rows, pixels, field_um = images.shape[0], int(images.attrs["pixels"]), float(images.attrs["field_um"])
            dtype = images.dtype
    except (OSError, KeyError) as problem:
        raise ImageError(f"{path}: not a crop file of this workflow ({problem}); delete it and run again") from None
    if len(obs) != rows:
        raise ImageError(f"{path}: {len(obs)} rows in obs but {rows} images; delete it and run again")
    return text_of_categories(obs), (pixels, field_um, dtype)
