"""Vectors that somebody else made: any h5ad of cells enters where our own embeddings would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, sparse_dataset
from numpy.typing import NDArray

from subcell.catalog.released import location_names
from subcell.catalog.splits import read_antibody_lists, split_fields
from subcell.embedding.models import PROBABILITIES
from subcell.embedding.store import VectorFile, create_vectors
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

LISTS = ("gene", "ensembl_id", "locations")
"""Several values in one cell of a table: "," between them there, ";" here."""


def import_cells(
    path: str | Path,
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
    path : h5ad with a row a cell; dense or sparse. Files of SubCellPortable, which are not quite AnnData, are read too.
    out_path : AnnData file to write: X float32, obs with our column names (others stay), obsm["probabilities"] where the
        file has them
    model : name of the model that made the vectors
    columns : our column -> the file's; `KNOWN_NAMES` are found without
    defaults : our column -> value of rows that have none
    layer : a layer, or `obsm/NAME`, to take instead of X
    split : settings of the split (by, train, valid, seed, lists); rows that bring one keep it
    log : is told what was found

    Raises
    ------
    SubcellError : the file cannot be read, a column is not there, ids occur twice, or a vector is not finite
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            obs = describe_cells(_read_obs(file), path, columns or {}, defaults or {})
            obs = _with_split(obs, split or {"by": "none"}, log)
            source, vectors = _array(file, path, layer)
            if vectors.shape[0] != len(obs):
                raise SubcellError(
                    f"{path}: {source} has {vectors.shape[0]} rows and obs {len(obs)}; the file is damaged"
                )
            names = _feature_names(file, source, vectors.shape[1])
            uns: dict[str, Any] = {
                "model": model,
                "kind": "imported",
                "checkpoint_sha256": "",
                "normalisation": "as imported",
                "file": f"{path.name}, {source}",
                "l2_normalised": False,
            }
            extra = file.get(f"obsm/{PROBABILITIES}")
            if isinstance(extra, h5py.Dataset) and extra.ndim == 2:
                classes = location_names()
                known = extra.shape[1] == len(classes)
                uns["location_classes"] = classes if known else [f"class {i}" for i in range(extra.shape[1])]
            with create_vectors(out_path, obs, features=names, uns=uns) as out:
                _copy(vectors, out, "X", obs, path)
                if "location_classes" in uns:
                    out.create(f"obsm/{PROBABILITIES}", extra.shape[1:], np.float32)
                    _copy(extra, out, f"obsm/{PROBABILITIES}", obs, path)
    except (OSError, KeyError) as problem:
        raise SubcellError(f"{path}: cannot be read as h5ad ({problem})") from None
    log(f"{path.name}: {len(obs):,} cells, {len(names)} numbers each, from {source}")


def describe_cells(
    obs: pd.DataFrame, path: str | Path, columns: Mapping[str, str], defaults: Mapping[str, str]
) -> pd.DataFrame:
    """Table of cells under our names, with `field_id` and unique cell ids.

    Parameters
    ----------
    obs : as in the file
    path : for messages
    columns, defaults : see `import_cells`

    Returns
    -------
    table of as many rows, index cell_id. A field is the file's `field_id`, else plate, well and site joined as HPA does
    it, else the whole file is one. Where ids are plain numbers, a cell is called by its field and number.

    Raises
    ------
    SubcellError : a column that is asked for is not there, or ids occur twice
    """
    missing = [f"{ours}: {theirs}" for ours, theirs in columns.items() if theirs not in obs]
    if missing:
        raise SubcellError(
            f"{path}: obs has no column {', '.join(missing)}; it has {', '.join(map(str, obs.columns[:40]))}"
        )
    renames = {theirs: ours for theirs, ours in KNOWN_NAMES.items() if ours not in obs and ours not in columns}
    renames = {theirs: ours for theirs, ours in renames.items() if theirs in obs and theirs not in columns.values()}
    table = obs.rename(columns={**renames, **{theirs: ours for ours, theirs in columns.items()}})
    table = table.loc[:, ~table.columns.duplicated()]
    for name in set(LISTS) & set(table.columns):
        table[name] = _separated(table[name])
    for name, value in defaults.items():
        present = table[name].astype(object) if name in table else pd.Series(None, index=table.index, dtype=object)
        table[name] = present.where(present.notna(), value)
    parts = [name for name in ("plate", "well", "site") if name in table]
    if "field_id" not in table:
        text = [_plain_numbers(table[name]) for name in parts]
        table["field_id"] = (
            pd.Series(["_".join(row) for row in zip(*text, strict=True)], index=table.index) if parts else "all"
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


def _separated(values: pd.Series) -> pd.Series:
    """Text with ";" between values; categories stay categories."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        renamed = {name: _semicolons(name) for name in values.cat.categories}
        if len(set(renamed.values())) == len(renamed):
            return values.cat.rename_categories(renamed)
    return values.astype(object).map(_semicolons, na_action="ignore")


def _semicolons(value: Any) -> str:
    return ";".join(part.strip() for part in str(value).replace(";", ",").split(",") if part.strip())


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


def _array(file: h5py.File, path: Path, layer: str | None) -> tuple[str, Any]:
    name = "X" if layer is None else layer if layer.startswith("obsm/") else f"layers/{layer}"
    if name not in file:
        there = [
            "X",
            *(f"layers/{key}" for key in file.get("layers", {})),
            *(f"obsm/{key}" for key in file.get("obsm", {})),
        ]
        raise SubcellError(f"{path}: there is no {name}; it has {', '.join(there)}")
    item = file[name]
    array = item if isinstance(item, h5py.Dataset) else sparse_dataset(item)
    if len(array.shape) != 2:
        raise SubcellError(f"{path}: {name} has {len(array.shape)} dimensions; expected cells x numbers")
    return name, array


def _feature_names(file: h5py.File, source: str, number: int) -> list[str]:
    if source == "X" and "var" in file and "encoding-type" in file["var"].attrs:
        names = [str(name) for name in read_elem(file["var"]).index]
        if len(names) == number and len(set(names)) == number:
            return names
    return [f"vector_{i}" for i in range(number)]


def _copy(source: Any, out: VectorFile, name: str, obs: pd.DataFrame, path: Path) -> None:
    rows = max(1, BLOCK_BYTES // max(1, 8 * source.shape[1]))
    for start in range(0, len(obs), rows):
        block = source[start : start + rows]
        block = np.asarray(block.toarray() if hasattr(block, "toarray") else block, np.float32)
        broken = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(broken):
            raise SubcellError(
                f"{path}: {name} of cell {obs.index[start + broken[0]]!r} is not finite; leave such cells out"
            )
        out.write(name, start, block)
