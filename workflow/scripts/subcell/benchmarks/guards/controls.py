"""Control rows of a benchmark: what it gives to vectors that know nothing, and to vectors that know the answer."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.guards.name_codes import name_codes
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.statistics.result import not_run, write_result
from subcell.config.suite import CONTROLS, PLATE_ALONE
from subcell.embedding.store import create_vectors
from subcell.errors import ConfigError

RANDOM_FEATURES = 64
OWN_TASK = "own_task_"
"""Begins the name of a module that a file of the user's becomes."""

MEANING = {
    "random_labels": "vectors of {model}, dealt to the cells of another {dealt}",
    "random_features": f"{RANDOM_FEATURES} random numbers a cell",
    "perfect_features": "the labels themselves as vectors",
    PLATE_ALONE: "the plate of each cell as a vector",
}
OTHER_CELLS = ("home_cells", "train_cells")
"""Keywords of a benchmark's `run` that name vectors of another dataset by the same model."""


def load_file(name: str, file: str | Path) -> ModuleType:
    """A benchmark of the user's.

    Raises
    ------
    ConfigError : the file cannot be loaded, or lacks `run`
    """
    where = f"own_tasks.{name}.file: {file}"
    spec = spec_from_file_location(OWN_TASK + name, file)
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
    task : see `subcell.benchmarks.statistics.result`
    cells : vectors of any model of the dataset: its cells are used, and for `random_labels` its vectors
    out_jsons, out_parquets : control -> file to write
    source_model : name of that model
    scoring : as for a model; `head_seeds` is set to 1, and of vectors of other datasets (`OTHER_CELLS`) it gets the control's
    """
    others = {name: scoring.pop(name) for name in OTHER_CELLS if scoring.get(name)}
    tables = {name: frozen.read_cells(path) for name, path in {"cells": cells, **others}.items()}
    dealt = getattr(task, "DEALT", getattr(task, "UNIT", "antibody"))
    more = {**scoring, "head_seeds": 1, "seed": seed}
    names: dict[str, Any] = {"dataset": dataset, "simulated": simulated}
    for control in CONTROLS:
        out = {"out_json": out_jsons[control], "out_parquet": out_parquets[control]}
        vectors = control_vectors(control, task, list(tables.values()), dealt=dealt, seed=seed, given=scoring)
        if isinstance(vectors, str):
            benchmark = getattr(task, "BENCHMARK", task.__name__.removeprefix(OWN_TASK))
            write_result(not_run(vectors, benchmark=benchmark, model=control, **names), *out.values())
            continue
        uns = {"model": control, "control": MEANING[control].format(model=source_model, dealt=dealt)}
        with tempfile.TemporaryDirectory() as folder:
            paths = {}
            for (name, table), part in zip(tables.items(), vectors, strict=True):
                paths[name] = Path(folder) / f"{name}.h5ad"
                with create_vectors(
                    paths[name], table.obs, features=list(map(str, range(part.shape[1]))), uns=uns
                ) as file:
                    file.write("X", 0, part)
            task.run(paths.pop("cells"), **paths, **out, **names, model=control, **more)


def control_vectors(
    control: str,
    task: ModuleType,
    tables: Sequence[frozen.Cells],
    *,
    dealt: str,
    seed: int,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> list[NDArray[np.float32]] | str:
    """Vectors of one control for the cells of each table, (N, D) each; or what it needs.

    Parameters
    ----------
    dealt : column whose groups exchange their vectors in `random_labels`
    given : the keywords of the benchmark's `run`
    """
    rng = np.random.default_rng([seed, CONTROLS.index(control)])
    if control == "random_labels":
        return [deal_vectors(table.features, table.column(dealt), rng) for table in tables]
    obs = tables[0].obs if len(tables) == 1 else pd.concat([table.obs for table in tables])
    ends = np.cumsum([len(table.obs) for table in tables])[:-1]
    if control == "random_features":
        vectors = rng.standard_normal((len(obs), RANDOM_FEATURES), np.float32)
    elif control == PLATE_ALONE:
        plates = pd.concat([table.column("plate") for table in tables])
        if plates.isna().all():
            return "needs plate"
        vectors = name_codes(plates, rng)
    elif not hasattr(task, "perfect_features"):
        return "needs a function `perfect_features` beside `run`"
    else:
        # Some need to read what is true: those keywords that they name.
        known = signature(task.perfect_features).parameters
        more = {name: value for name, value in given.items() if name in known}
        vectors = np.asarray(task.perfect_features(obs, **more), np.float32)
        # Without labels there is nothing to know; the benchmark itself says what it needs.
        vectors = vectors if vectors.size else np.zeros((len(obs), 1), np.float32)
    return np.split(vectors, ends)


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
