"""Whether two runs of the chain gave the same: tables equal, vectors and weights to a tolerance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from safetensors.numpy import load_file

TOLERANCE = 1e-5
OF_THE_CLOCK = ("cells_per_s", "data_wait", "seconds", "duration_s")
"""Metrics that say how fast a run was."""

OF_THE_RUN = {Path("ro-crate-metadata.json")}
"""What says when a run was, not what it found."""


def differences(one: Path, other: Path, *, tolerance: float = TOLERANCE) -> list[str]:
    """What differs between two folders of results, a line a file; nothing where they are equal."""
    first, second = ({path.relative_to(folder) for path in _files(folder)} for folder in (one, other))
    lines = [f"{path}: only in one of them" for path in sorted(first ^ second)]
    for path in sorted((first & second) - OF_THE_RUN):
        try:
            _compare(one / path, other / path, tolerance)
        except AssertionError as problem:
            lines.append(f"{path}: {str(problem).strip()[:300]}")
    return lines


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        kept = not any(part.startswith(".") or part.endswith((".zarr", ".partial")) for part in path.parts)
        if path.is_file() and kept:
            yield path


def _compare(one: Path, other: Path, tolerance: float) -> None:
    match one.suffix:
        case ".h5ad" | ".h5sc":
            _compare_cells(anndata.read_h5ad(one), anndata.read_h5ad(other), tolerance)
        case ".safetensors":
            _compare_arrays(load_file(one), load_file(other), tolerance)
        case ".parquet":
            _compare_tables(pd.read_parquet(one), pd.read_parquet(other), tolerance)
        case ".tsv" | ".csv":
            sep = "," if one.suffix == ".csv" else "\t"
            _compare_tables(pd.read_csv(one, sep=sep), pd.read_csv(other, sep=sep), tolerance)
        case ".json":
            assert _without_clock(json.loads(one.read_text())) == _without_clock(json.loads(other.read_text()))
        case ".png" | ".npy":
            assert one.read_bytes() == other.read_bytes(), "other bytes"


def _compare_cells(one: anndata.AnnData, other: anndata.AnnData, tolerance: float) -> None:
    pd.testing.assert_frame_equal(one.obs, other.obs, rtol=tolerance, atol=tolerance)
    if one.X is not None:
        np.testing.assert_allclose(_dense(one.X), _dense(other.X), rtol=tolerance, atol=tolerance)
    for name in one.obsm:
        np.testing.assert_allclose(one.obsm[name], other.obsm[name], rtol=tolerance, atol=tolerance)


def _dense(matrix):
    return matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)


def _compare_arrays(one: dict, other: dict, tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=tolerance, atol=tolerance, err_msg=name)


def _compare_tables(one: pd.DataFrame, other: pd.DataFrame, tolerance: float) -> None:
    if "metric" in one:
        one, other = (table[~table["metric"].isin(OF_THE_CLOCK)].reset_index(drop=True) for table in (one, other))
    # A file that was linked again was asked for again.
    one, other = (table.drop(columns="tries", errors="ignore") for table in (one, other))
    pd.testing.assert_frame_equal(one, other, rtol=tolerance, atol=tolerance)


def _without_clock(value):
    if isinstance(value, dict):
        return {key: _without_clock(item) for key, item in value.items() if key not in OF_THE_CLOCK}
    return [_without_clock(item) for item in value] if isinstance(value, list) else value
