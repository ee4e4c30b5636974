"""Vectors that somebody else made: any h5ad of cells enters where our own embeddings would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from numpy.typing import NDArray

from subcell.catalog.fields import DESCRIPTION_COLUMNS, WHOLE_FILE
from subcell.catalog.released import location_names
from subcell.catalog.splits import read_antibody_lists, split_fields
from subcell.catalog.values import SPELT, read_value
from subcell.crops.foreign import open_h5ad, reading
from subcell.crops.foreign_arrays import NUMBERS, find_array, names_of_columns, read_rows
from subcell.embedding.models import PROBABILITIES
from subcell.embedding.store import VectorFile, create_vectors
from subcell.embedding.torch_table import SUFFIXES, torch_table_to_h5ad
from subcell.errors import SheetError, SubcellError

BLOCK_BYTES = 2**27

KNOWN_NAMES = {
    "if_plate_id": "plate",
    "position": "well",
    "sample": "site",
    "atlas_name": "cell_line",
    "gene_names": "gene",
    "ensembl_ids": "ensembl_id",
    "gene_name": "gene",
    "gene_reliability": "reliability",
}
"""Columns of SubCell's released table and of HPA's lists -> ours."""

OUR_COLUMNS = ("cell_id", "field_id", *DESCRIPTION_COLUMNS, "split")
"""Columns that are looked for under our name, in any case."""


def import_cells(
    paths: str | Path | Sequence[str | Path],
    out_path: str | Path,
    *,
    model: str,
    columns: Mapping[str, str] | None = None,
    defaults: Mapping[str, str] | None = None,
    layer: str | None = None,
    split: Mapping[str, Any] | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Write a file of vectors of ours from any h5ad, block by block.

    Parameters
    ----------
    paths : h5ad with a row a cell; dense or sparse; or a .pth of torch, see `subcell.embedding.torch_table`. Files of
        SubCellPortable, which are not quite AnnData, are read too. Of several, the vectors of a cell stand side by side
        (several proteins stained in the same fields, say); the first tells what is known of cells, and cells that another
        lacks are left out.
    out_path : AnnData file to write: X float32, obs with our column names (others stay), obsm["probabilities"] where the
        file has them
    model : name of the model that made the vectors
    columns : our column -> the file's; our names in any case, else `KNOWN_NAMES`, are found without
    defaults : our column -> value of rows that have none
    layer : a layer, or `obsm/NAME`, to take instead of X
    split : settings of the split (by, train, valid, seed, lists); rows that bring one keep it
    log : is told what was found

    Raises
    ------
    SubcellError : the file cannot be read, a column is not there or holds an unknown word, ids occur twice, or a vector
        is not finite
    """
    all_paths = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    path = all_paths[0]
    with ExitStack() as stack:
        all_paths = [_as_h5ad(one, stack) for one in all_paths]
        file, *others = (stack.enter_context(open_h5ad(one)) for one in all_paths)
        with reading(path):
            obs = describe_cells(_read_obs(file), path, columns or {}, defaults or {}, log=log)
            source, first, names = find_array(file, path, layer)
        if first.shape[0] != len(obs):
            raise SubcellError(f"{path}: {source} has {first.shape[0]} rows and obs {len(obs)}; the file is damaged")
        arrays, rows = [first], [np.arange(len(obs))]
        for other, at in zip(others, all_paths[1:], strict=True):
            with reading(at):
                array = find_array(other, at, layer)[1]
                ids = describe_cells(_read_obs(other), at, columns or {}, {}).index
            if array.shape[0] != len(ids):
                raise SubcellError(f"{at}: {source} has {array.shape[0]} rows and obs {len(ids)}; the file is damaged")
            arrays.append(array)
            rows.append(ids.get_indexer(obs.index))
        common = np.all([found >= 0 for found in rows], axis=0)
        if not common.any():
            raise SubcellError(f"{path}: no cell is in all of {', '.join(map(str, all_paths))}")
        obs = _with_split(obs[common], split or {"by": "none"}, log)
        rows = [found[common] for found in rows]
        width = sum(array.shape[1] for array in arrays)
        with reading(path):
            names = [] if others else names or names_of_columns(file, source, width)
            extra, classes = _probabilities(file, path, first.shape[0])
        names = names or [f"vector_{i}" for i in range(width)]
        uns: dict[str, Any] = {
            "model": model,
            "kind": "imported",
            "checkpoint_sha256": "",
            "normalisation": "as imported",
            "file": f"{', '.join(one.name for one in all_paths)}, {source}",
            "l2_normalised": False,
        }
        if extra is not None:
            uns["location_classes"] = classes
        with create_vectors(out_path, obs, features=names, uns=uns) as out:
            _copy(arrays, rows, out, "X", obs, path)
            if extra is not None:
                out.create(f"obsm/{PROBABILITIES}", extra.shape[1:], np.float32)
                _copy([extra], rows[:1], out, f"obsm/{PROBABILITIES}", obs, path)
    dropped = f"; {int((~common).sum()):,} cells are not in all files" if not common.all() else ""
    log(f"{uns['file']}: {len(obs):,} cells, {len(names)} numbers each{dropped}")


def _as_h5ad(path: Path, stack: ExitStack) -> Path:
    """The file itself, or where torch wrote it, the same as h5ad for as long as it is needed."""
    if path.suffix not in SUFFIXES:
        return path
    folder = Path(stack.enter_context(TemporaryDirectory()))
    torch_table_to_h5ad(path, folder / f"{path.stem}.h5ad")
    return folder / f"{path.stem}.h5ad"


def describe_cells(
    obs: pd.DataFrame,
    path: str | Path,
    columns: Mapping[str, str],
    defaults: Mapping[str, str],
    *,
    log: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Table of cells under our names, with `field_id` and unique cell ids.

    Parameters
    ----------
    obs : as in the file
    path : for messages
    columns, defaults : see `import_cells`
    log : is told which columns were taken

    Returns
    -------
    table of as many rows, index cell_id, values as `read_value` spells them. A field is the file's `field_id`, else plate,
    well and site joined as HPA does it, else the whole file is one. Where ids are plain numbers, a cell is called by its
    field and number.

    Raises
    ------
    SubcellError : a column that is asked for is not there, a word of a column is unknown, or ids occur twice
    """
    missing = [f"{ours}: {theirs}" for ours, theirs in columns.items() if theirs not in obs]
    if missing:
        raise SubcellError(
            f"{path}: obs has no column {', '.join(missing)}; it has {', '.join(map(str, obs.columns[:40]))}"
        )
    found = _find_columns(obs.columns, columns)
    if log:
        taken = [ours if ours == theirs else f"{ours} from {theirs!r}" for ours, theirs in found.items()]
        log(f"{path}: columns taken: {', '.join(taken) or 'none'}")
    # A column that has our name gives way to the one that was asked for.
    table = obs.drop(columns=[name for name in obs if name in found and name not in found.values()])
    table = table.rename(columns={theirs: ours for ours, theirs in found.items()})
    for name, value in defaults.items():
        present = table[name].astype(object) if name in table else pd.Series(None, index=table.index, dtype=object)
        table[name] = present.where(present.notna(), value)
    for name in SPELT:
        if name in table:
            table[name] = _spelt(table[name], path)
    parts = [name for name in ("plate", "well", "site") if name in table]
    if "field_id" not in table:
        text = [_plain_numbers(table[name]) for name in parts]
        table["field_id"] = (
            pd.Series(["_".join(row) for row in zip(*text, strict=True)], index=table.index) if parts else WHOLE_FILE
        )
    table["field_id"] = table["field_id"].astype(str)
    ids = table.index.astype(str)
    if "cell_id" in table:
        numbers = _plain_numbers(table["cell_id"])
        table = table.drop(columns="cell_id")
        if pd.Index(numbers).is_unique:
            ids = pd.Index(numbers)
        elif ids.str.fullmatch(r"\d+").all():
            ids = pd.Index([f"{field}:{number}" for field, number in zip(table["field_id"], numbers, strict=True)])
    twice = ids[ids.duplicated()]
    if len(twice):
        raise SubcellError(
            f"{path}: cell {twice[0]!r} occurs twice; `columns: {{cell_id: ...}}` names a column that tells cells apart"
        )
    table.index = pd.Index(ids.astype(object), name="cell_id")
    return table


def _find_columns(present: Iterable[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Our column -> the file's: the one asked for, else that of our name in any case, else one of `KNOWN_NAMES`."""
    free = [name for name in present if name not in columns.values()]
    # A name that is exactly ours goes before one in another case.
    by_name = {str(name).casefold(): name for name in free} | {name: name for name in free}
    found = dict(columns)
    for ours in OUR_COLUMNS:
        names = [ours, *(theirs for theirs, known in KNOWN_NAMES.items() if known == ours)]
        theirs = next((by_name[name] for name in names if name in by_name), None)
        if ours not in found and theirs is not None:
            found[ours] = theirs
    return found


def _spelt(values: pd.Series, path: str | Path) -> pd.Series:
    """Values of a column as a sheet's are read; categories stay categories."""
    ours: dict[Any, str | None] = {}
    for value in values.dropna().unique():
        try:
            ours[value] = read_value(str(values.name), str(value))
        except ValueError as problem:
            raise SubcellError(
                f"{path}: {problem} (first in cell {values.index[values == value][0]!r}); correct it there, or take another "
                f"column by `columns: {{{values.name}: ...}}`"
            ) from None
    spelt = values.astype(object).map(ours, na_action="ignore").astype(object)
    return spelt.astype("category") if isinstance(values.dtype, pd.CategoricalDtype) else spelt


def _plain_numbers(values: pd.Series) -> list[str]:
    """Values as text; a whole number that was kept as a fraction ("1.0") loses it."""
    return [text[:-2] if (text := str(value)).endswith(".0") and text[:-2].isdigit() else text for value in values]


def _with_split(obs: pd.DataFrame, split: Mapping[str, Any], log: Callable[[str], None]) -> pd.DataFrame:
    """Fill in `split`, field by field, as for a sheet of images."""
    if not len(obs):
        return obs.assign(split=pd.Series([], dtype=object))
    wanted = ["field_id", "gene", "ensembl_id", "antibody", "split"]
    fields = pd.DataFrame({name: obs[name].astype(object).to_numpy() if name in obs else None for name in wanted})
    fields = fields.astype(object).where(fields.notna(), None)
    keys = fields.groupby(wanted, dropna=False, sort=False).ngroup()
    once = fields.loc[~keys.duplicated(), wanted].reset_index(drop=True)
    try:
        lists = read_antibody_lists(split["lists"]) if split["by"] == "paper" else None
        settings = {key: split[key] for key in ("by", "train", "valid", "seed") if key in split}
        once = split_fields(once, lists=lists, log=log, **settings)
    except SheetError as problem:
        raise SubcellError(str(problem)) from None
    return obs.assign(split=once["split"].to_numpy(object)[keys.to_numpy()])


def _read_obs(file: h5py.File) -> pd.DataFrame:
    group = file["obs"]
    if "encoding-type" in group.attrs:
        return read_elem(group)
    # Written by bare h5py: plain columns, one of them called index.
    columns = {
        name: _text(item[:]) for name, item in group.items() if isinstance(item, h5py.Dataset) and item.ndim == 1
    }
    index = columns.pop("index", columns.pop("_index", None))
    table = pd.DataFrame(columns, index=None if index is None else pd.Index(index.astype(str)))
    return table


def _text(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind not in "SO":
        return values
    return np.array([value.decode() if isinstance(value, bytes) else value for value in values], object)


def _probabilities(file: h5py.File, path: Path, cells: int) -> tuple[h5py.Dataset | None, list[str]]:
    """Probabilities of locations (cells, classes) that the file has beside its vectors, and the names of the classes."""
    array = file.get(f"obsm/{PROBABILITIES}")
    if not isinstance(array, h5py.Dataset) or array.ndim != 2 or array.dtype.kind not in NUMBERS or not array.shape[1]:
        return None, []
    if array.shape[0] != cells:
        raise SubcellError(f"{path}: {array.name} has {array.shape[0]} rows and obs {cells}; the file is damaged")
    return array, _class_names(file, array.shape[1])


def _class_names(file: h5py.File, number: int) -> list[str]:
    """Names of the classes of probabilities: the file's own, or the released ones where there are as many."""
    known = file.get("uns/location_classes")
    if known is not None and known.shape == (number,):
        return [str(name) for name in read_elem(known)]
    return location_names() if number == len(location_names()) else [f"class {i}" for i in range(number)]


def _copy(
    arrays: Sequence[Any], rows: Sequence[NDArray[np.int64]], out: VectorFile, name: str, obs: pd.DataFrame, path: Path
) -> None:
    """Write some rows of arrays side by side."""
    block_rows = max(1, BLOCK_BYTES // max(1, 8 * sum(array.shape[1] for array in arrays)))
    for start in range(0, len(obs), block_rows):
        with reading(path):
            parts = [read_rows(array, one[start : start + block_rows]) for array, one in zip(arrays, rows, strict=True)]
        block = np.concatenate(parts, axis=1)
        broken = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(broken):
            cell = obs.index[start + broken[0]]
            raise SubcellError(f"{path}: {name} of cell {cell!r} is not finite; leave such cells out")
        out.write(name, start, block)
