"""Control rows of a benchmark: what it gives to vectors that know nothing, and to vectors that know the answer."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks import frozen
from subcell.config.suite import CONTROLS
from subcell.embedding.store import create_vectors
from subcell.errors import ConfigError

RANDOM_FEATURES = 64
MEANING = {
    "random_labels": "vectors of {model}, dealt to the cells of another {dealt}",
    "random_features": f"{RANDOM_FEATURES} random numbers a cell",
    "perfect_features": "the labels themselves as vectors",
}


def load_file(name: str, file: str | Path) -> ModuleType:
    """A benchmark of the user's.

    Raises
    ------
    ConfigError : the file cannot be loaded, or lacks `run`
    """
    where = f"own_tasks.{name}.file: {file}"
    spec = spec_from_file_location(f"own_task_{name}", file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise ConfigError(f"{where} is no Python file")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as problem:
        raise ConfigError(f"{where} cannot be loaded ({type(problem).__name__}: {problem})") from problem
    if not callable(getattr(module, "run", None)):
        raise ConfigError(f"{where} has no function `run`; see docs/benchmarks.md")
    return module


def run_controls(
    task: ModuleType,
    cells: str | Path,
    *,
    out_jsons: Mapping[str, str | Path],
    out_parquets: Mapping[str, str | Path],
    dataset: str,
    simulated: bool,
    source_model: str,
    seed: int = 42,
    **scoring: Any,
) -> None:
    """Score the controls of one benchmark on one dataset, each as if it were a model; classifiers get one seed.

    Parameters
    ----------
    task : see `subcell.benchmarks.result`
    cells : vectors of any model of the dataset: its cells are used, and for `random_labels` its vectors
    out_jsons, out_parquets : control -> file to write
    source_model : name of that model
    scoring : as for a model; `head_seeds` is set to 1
    """
    table = frozen.read_cells(cells)
    dealt = getattr(task, "DEALT", getattr(task, "UNIT", "antibody"))
    more = {**scoring, "head_seeds": 1, "seed": seed}
    for control in CONTROLS:
        vectors = control_vectors(control, task, table, dealt=dealt, seed=seed, given=scoring)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cells.h5ad"
            uns = {"model": control, "control": MEANING[control].format(model=source_model, dealt=dealt)}
            with create_vectors(path, table.obs, features=list(map(str, range(vectors.shape[1]))), uns=uns) as file:
                file.write("X", 0, vectors)
            task.run(
                path,
                out_json=out_jsons[control],
                out_parquet=out_parquets[control],
                dataset=dataset,
                model=control,
                simulated=simulated,
                **more,
            )


def control_vectors(
    control: str,
    task: ModuleType,
    table: frozen.Cells,
    *,
    dealt: str,
    seed: int,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> NDArray[np.float32]:
    """Vectors of one control, (N, D); `given` are the keywords of the benchmark's `run`."""
    rng = np.random.default_rng([seed, CONTROLS.index(control)])
    if control == "perfect_features":
        # Some need to read what is true: those keywords that they name.
        known = signature(task.perfect_features).parameters
        more = {name: value for name, value in given.items() if name in known}
        perfect = np.asarray(task.perfect_features(table.obs, **more), np.float32)
        # Without labels there is nothing to know; the benchmark itself says what it needs.
        return perfect if perfect.size else np.zeros((len(table.obs), 1), np.float32)
    if control == "random_features":
        return rng.standard_normal((len(table.obs), RANDOM_FEATURES), np.float32)
    return deal_vectors(table.features, table.column(dealt), rng)


def deal_vectors(vectors: NDArray[np.float32], groups: pd.Series, rng: np.random.Generator) -> NDArray[np.float32]:
    """Give the cells of each group the vectors of another one, so that what a group has in common stays and says nothing.

    Where the other group is smaller its vectors come again. Cells without a group get those of any cell.
    """
    codes, names = pd.factorize(groups, use_na_sentinel=True)
    order = rng.permutation(len(names))
    # A cycle through all groups: none keeps its own.
    giver = dict(zip(order, np.roll(order, 1), strict=True))
    rows = rng.permutation(len(codes))
    members = {code: rows[codes[rows] == code] for code in range(len(names))}
    taken = rng.integers(0, max(len(codes), 1), len(codes))
    for code, cells in members.items():
        taken[cells] = np.resize(members[giver[code]], len(cells))
    return vectors[taken]
