"""Files of vectors: AnnData with `X` float32 (cells, features), written batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from anndata.io import read_elem, write_elem
from numpy.typing import NDArray

from subcell.crops.anndata_file import categories_of_text, create_anndata, text_of_categories
from subcell.errors import CheckpointError
from subcell.replacing import replacing

CHUNK_BYTES = 2**18


@contextmanager
def create_vectors(
    path: str | Path, obs: pd.DataFrame, *, features: Sequence[str], uns: Mapping[str, Any]
) -> Iterator[VectorFile]:
    """Open a new file of vectors, one row for each row of `obs`; it gets its name when the `with` block ends well.

    Parameters
    ----------
    path : file to write
    obs : (N, ...) table of cells, index cell_id
    features : names of the columns of `X`
    uns : what applies to all of them, plain values
    """
    with create_anndata(path) as file:
        write_elem(file, "obs", categories_of_text(obs))
        write_elem(file, "var", pd.DataFrame(index=pd.Index(list(features), dtype=object)))
        # AnnData keeps lists of text as arrays.
        write_elem(file, "uns", {k: np.array(v, object) if isinstance(v, list) else v for k, v in uns.items()})
        vectors = VectorFile(file, len(obs))
        vectors.create("X", (len(features),), np.float32)
        yield vectors


@dataclass
class VectorFile:
    """The arrays of an open file of vectors."""

    file: h5py.File
    rows: int

    def create(self, name: str, row_shape: tuple[int, ...], dtype: Any) -> None:
        """Add an array (rows, *row_shape) of zeros, such as `obsm/attention`."""
        row_bytes = max(1, int(np.prod(row_shape)) * np.dtype(dtype).itemsize)
        # HDF5 cannot chunk an array without rows, nor by more rows than there are.
        chunks = (max(1, min(self.rows, CHUNK_BYTES // row_bytes)), *row_shape) if self.rows else None
        array = self.file.create_dataset(
            name, (self.rows, *row_shape), dtype, chunks=chunks, fletcher32=chunks is not None
        )
        array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})

    def write(self, name: str, start: int, values: NDArray[Any]) -> None:
        """Write rows from `start` on."""
        self.file[name][start : start + len(values)] = values


@dataclass(frozen=True)
class Vectors:
    """What a file of vectors holds besides its arrays; these stay on disk.

    Attributes
    ----------
    path : the file
    obs : (N, ...) table of cells, text as plain text
    features : names of the columns of `X`
    uns : what applies to all
    arrays : name in the file -> (shape of a row, type), `X` and what lies in `obsm`
    """

    path: Path
    obs: pd.DataFrame
    features: list[str]
    uns: dict[str, Any]
    arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


def read_vectors(path: str | Path) -> Vectors:
    """Open a file of vectors without reading its arrays.

    Raises
    ------
    CheckpointError : the file is missing or damaged
    """
    try:
        with h5py.File(path, "r") as file:
            names = ["X", *(f"obsm/{name}" for name in file["obsm"])]
            return Vectors(
                path=Path(path),
                obs=text_of_categories(read_elem(file["obs"])),
                features=[str(name) for name in read_elem(file["var"]).index],
                uns=read_elem(file["uns"]),
                arrays={name: (file[name].shape[1:], file[name].dtype) for name in names},
            )
    except (OSError, KeyError) as problem:
        raise CheckpointError(f"{path}: not a file of vectors ({problem}); delete it and embed again") from None


def plain(uns: Mapping[str, Any]) -> dict[str, Any]:
    """What applies to all rows as plain values that can be compared: arrays as lists."""
    return {key: value.tolist() if isinstance(value, np.ndarray | np.generic) else value for key, value in uns.items()}


def export_parquet(path: str | Path, out_path: str | Path, *, rows_at_a_time: int = 10_000) -> None:
    """Write a file of vectors as one parquet table: cell_id, the columns of obs, then a column a feature.

    Parameters
    ----------
    path : AnnData file of vectors
    out_path : parquet file to write
    rows_at_a_time : rows of a row group, and in memory
    """
    vectors = read_vectors(path)
    obs = vectors.obs.reset_index(names="cell_id")
    schema = pa.Schema.from_pandas(obs, preserve_index=False)
    fields = [*schema, *(pa.field(name, pa.float32()) for name in vectors.features)]
    with (
        h5py.File(path, "r") as file,
        replacing(out_path) as to,
        pq.ParquetWriter(to, pa.schema(fields)) as writer,
    ):
        for start in range(0, len(obs), rows_at_a_time):
            table = pa.Table.from_pandas(obs.iloc[start : start + rows_at_a_time], schema, preserve_index=False)
            values = file["X"][start : start + rows_at_a_time]
            columns = [*table.columns, *(pa.array(column) for column in values.T.copy())]
            writer.write_table(pa.Table.from_arrays(columns, schema=pa.schema(fields)))
