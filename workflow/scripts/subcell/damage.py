"""Which of some files are damaged: asked after a job failed over what it read, not before."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def damaged(paths: Iterable[str | Path]) -> list[str]:
    """Files that cannot be read to their end.

    Parameters
    ----------
    paths : files, and folders with their files (one of label images is a file here); what has no reader counts as whole

    Returns
    -------
    a line a damaged file, with its path and what is wrong
    """
    lines = []
    for file in (file for path in paths for file in _files(Path(path))):
        try:
            READERS[file.suffix](file)
        except ImportError:
            continue  # an environment without the reader does not read such files
        except Exception as problem:  # each reader has its own errors for broken bytes
            first = str(problem).strip().partition("\n")[0] or type(problem).__name__
            lines.append(f"{file}: damaged or cut off ({first})")
    return lines


def _files(path: Path) -> Iterator[Path]:
    if path.suffix in READERS and path.exists():
        yield path
    elif path.is_dir():
        for inside in sorted(path.iterdir()):
            yield from _files(inside)


def _read_parquet(path: Path) -> None:
    import pyarrow.parquet as pq

    for _ in pq.ParquetFile(path).iter_batches():
        pass


def _read_hdf5(path: Path) -> None:
    import h5py

    def read(_: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            for rows in node.iter_chunks() if node.chunks else [()]:
                node[rows]

    with h5py.File(path, "r") as file:
        file.visititems(read)


def _read_safetensors(path: Path) -> None:
    from safetensors.numpy import load_file

    load_file(path)


def read_array(array: Any) -> np.ndarray:
    """All of a `zarr.Array` that was written with its empty chunks.

    Raises
    ------
    FileNotFoundError : the file of a chunk is gone; zarr itself would read zeros there
    """
    import numpy as np

    if array.nchunks_initialized < array.nchunks:
        raise FileNotFoundError(f"{array.nchunks - array.nchunks_initialized} of its {array.nchunks} chunks are gone")
    return np.asarray(array[...])


def _read_zarr(path: Path) -> None:
    import zarr

    for name, node in zarr.open_group(path, mode="r").members(max_depth=None):
        if isinstance(node, zarr.Array):
            try:
                read_array(node)
            except Exception as problem:
                raise ValueError(f"{name}: {problem}") from problem


def _read_json(path: Path) -> None:
    json.loads(path.read_bytes())


def _read_tsv(path: Path) -> None:
    """Every row has as many cells as the header; the tables that we write end with a line break."""
    with open(path, encoding="utf-8", newline="") as file:
        text = "".join(line for line in file if not line.startswith("#"))
    if not text.endswith("\n") or "\0" in text:
        raise ValueError("no text, or cut off")
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", strict=True))
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(rows[0])}")


READERS: dict[str, Callable[[Path], None]] = {
    ".parquet": _read_parquet,
    ".h5ad": _read_hdf5,
    ".h5sc": _read_hdf5,
    ".safetensors": _read_safetensors,
    ".json": _read_json,
    ".tsv": _read_tsv,
    ".zarr": _read_zarr,
}
