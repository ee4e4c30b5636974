"""The array of an h5ad that others made: checked for what it holds, then read in blocks of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, sparse_dataset
from numpy.typing import NDArray

from subcell.errors import SubcellError

NUMBERS = "fiub"
MOST_COLUMNS = 2**20
BLOCK = 2**22
SPARSE = {"csr_matrix": 0, "csc_matrix": 1}
"""How AnnData calls sparse arrays -> the axis that their pointers run along."""


def find_array(file: h5py.File, path: str | Path, layer: str | None) -> tuple[str, Any, list[str]]:
    """The array that vectors come from.

    Parameters
    ----------
    file : open h5ad, see `subcell.crops.foreign.open_h5ad`
    path : for messages
    layer : a layer, or `obsm/NAME`, to take instead of X

    Returns
    -------
    name : in the file
    array : (cells, numbers), on disk; a table in obsm is in memory
    columns : names of its numbers, where it is a table

    Raises
    ------
    SubcellError : it is not there, has no columns, holds something else than numbers, or is damaged
    """
    name = "X" if layer is None else layer if layer.startswith("obsm/") else f"layers/{layer}"
    if name not in file:
        raise SubcellError(f"{path}: there is no {name}; it has {', '.join(arrays_of(file))}")
    item, columns = file[name], []
    kind = item.attrs.get("encoding-type", "") if isinstance(item, h5py.Group) else ""
    if isinstance(item, h5py.Dataset):
        array, dtype = item, item.dtype
    elif kind in SPARSE:
        _check_sparse(item, name, path, axis=SPARSE[kind])
        array, dtype = sparse_dataset(item), item["data"].dtype
    elif kind == "dataframe":
        table = read_elem(item)
        columns = [str(column) for column in table]
        text = [
            column for column, one in zip(columns, table.dtypes, strict=True) if not pd.api.types.is_numeric_dtype(one)
        ]
        if text:
            raise SubcellError(f"{path}: {name} is a table with text in {', '.join(text[:5])}; leave such columns out")
        array = table.to_numpy(np.float32, na_value=np.nan)
        dtype = array.dtype
    else:
        raise SubcellError(
            f"{path}: {name} is a group of kind {kind or 'unknown'!r}; expected an array, dense or sparse"
        )
    if len(array.shape) != 2:
        raise SubcellError(f"{path}: {name} has {len(array.shape)} dimensions; expected cells x numbers")
    if dtype.kind not in NUMBERS:
        raise SubcellError(f"{path}: {name} holds {_called(dtype)}; expected numbers")
    if not array.shape[1]:
        others = [other for other in arrays_of(file) if other not in (name, "obsm/probabilities")]
        advice = f"set layer: {others[0].removeprefix('layers/')}" if others else "name a file with vectors"
        raise SubcellError(f"{path}: {name} has no columns; {advice}")
    if array.shape[1] > MOST_COLUMNS:
        raise SubcellError(f"{path}: {name} has {array.shape[1]:,} columns; expected at most {MOST_COLUMNS:,}")
    return name, array, columns


def arrays_of(file: h5py.File) -> list[str]:
    """Names that `find_array` finds; X comes first, whether it is there or not."""
    folders = [name for name in ("layers", "obsm") if isinstance(file.get(name), h5py.Group)]
    return ["X", *(f"{folder}/{key}" for folder in folders for key in file[folder])]


def read_rows(array: Any, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows of an array on disk, in any order; those that lie together are read as one piece."""
    first, last = int(chosen.min()), int(chosen.max()) + 1
    if last - first <= 2 * len(chosen):
        block, places = array[first:last], chosen - first
    else:
        wanted, places = np.unique(chosen, return_inverse=True)
        block = array[wanted]
    block = np.asarray(block.toarray() if hasattr(block, "toarray") else block, np.float32)
    return block[places]


def _called(dtype: np.dtype[Any]) -> str:
    return "text" if dtype.kind in "SUO" else f"values of type {dtype}"


def _check_sparse(group: h5py.Group, name: str, path: str | Path, *, axis: int) -> None:
    """Pointers and indices, which scipy follows without a look at them."""
    shape = np.asarray(group.attrs["shape"]).astype(np.int64)
    pointers, indices, data = (group[part] for part in ("indptr", "indices", "data"))
    fault = ""
    if shape.shape != (2,) or (shape < 0).any():
        fault = f"its shape is {shape.tolist()}"
    elif pointers.shape != (shape[axis] + 1,) or pointers.dtype.kind not in "iu":
        fault = f"it has {pointers.size} pointers to {shape[axis]} {('rows', 'columns')[axis]}"
    elif indices.ndim != 1 or indices.shape != data.shape or indices.dtype.kind not in "iu":
        fault = f"it has {indices.size} indices and {data.size} values"
    elif not _rising(pointers[:], indices.size):
        fault = "its pointers do not rise from 0 to the number of values"
    elif any(_outside(indices[start : start + BLOCK], int(shape[1 - axis])) for start in range(0, indices.size, BLOCK)):
        fault = f"an index lies outside of its {shape[1 - axis]} {('columns', 'rows')[axis]}"
    if fault:
        raise SubcellError(f"{path}: the sparse array {name} is damaged: {fault}")


def _rising(pointers: NDArray[Any], values: int) -> bool:
    return pointers[0] == 0 and pointers[-1] == values and bool((pointers[1:] >= pointers[:-1]).all())


def _outside(indices: NDArray[Any], number: int) -> bool:
    return bool(indices.min() < 0 or indices.max() >= number)


def names_of_columns(file: h5py.File, source: str, number: int) -> list[str]:
    """Names that `var` has for the columns of X, else none."""
    if source == "X" and "var" in file and "encoding-type" in file["var"].attrs:
        names = [str(name) for name in read_elem(file["var"]).index]
        if len(names) == number and len(set(names)) == number:
            return names
    return []
