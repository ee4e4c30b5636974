"""Small tables of cells with known answers, and a way to run a benchmark on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subcell.embedding.store import create_vectors

LINES = ("A-431", "HeLa", "U2OS")
SINGLE = (
    *("Nucleoplasm", "Nuclear speckles", "Nucleoli", "Mitochondria"),
    *("Cytosol", "Endoplasmic reticulum", "Golgi apparatus", "Plasma membrane"),
)


def table_of_proteins(
    genes: int = 24, *, cells: int = 4, lines=LINES, locations=SINGLE, two_antibodies: int = 8
) -> pd.DataFrame:
    """One location a gene, every line, two fields a well; the first genes have two antibodies; half of the genes test."""
    rows = []
    for gene in range(genes):
        for number in range(2 if gene < two_antibodies else 1):
            for line in lines:
                for cell in range(cells):
                    well = f"W{gene}{'ab'[number]}"
                    rows.append(
                        {
                            "field_id": f"P{line}_{well}_{cell % 2}",
                            "plate": f"P{line}",
                            "well": well,
                            "cell_line": line,
                            "gene": f"G{gene:03d}",
                            "antibody": f"HPA{2 * gene + number:05d}",
                            "locations": locations[gene % len(locations)],
                            "split": ("test", "train", "test", "valid")[(gene // len(locations) + gene) % 4],
                            "cell": cell,
                        }
                    )
    table = pd.DataFrame(rows)
    table.index = pd.Index(table["field_id"] + ":" + table["cell"].astype(str), name="cell_id")
    return table.drop(columns="cell")


def one_hot(values: pd.Series) -> np.ndarray:
    """A column a value."""
    return pd.get_dummies(values).to_numpy(float)


def noise(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def write_cells(path: Path, obs: pd.DataFrame, vectors: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_vectors(path, obs, features=[f"f{i}" for i in range(vectors.shape[1])], uns={"model": "m"}) as file:
        file.write("X", 0, np.asarray(vectors, np.float32))
    return path


def run_task(task: Any, folder: Path, obs: pd.DataFrame, vectors: np.ndarray, **options: Any) -> dict[str, Any]:
    """The result of a benchmark as it is written."""
    cells = write_cells(folder / "cells.h5ad", obs, vectors)
    out = folder / "result.json"
    about = {"dataset": "d", "model": "m", "simulated": True, "bootstraps": 100, "min_test_antibodies": 3, "seed": 0}
    task.run(cells, out_json=out, out_parquet=folder / "result.parquet", **{**about, **options})
    return json.loads(out.read_text())


def headline(result: dict[str, Any]) -> dict[str, Any]:
    assert result["status"] == "ok", result["reason"]
    return result["metrics"][0]


def share_that_holds_chance(
    task: Any, folder: Path, obs: pd.DataFrame, vectors, *, runs: int = 50, **options: Any
) -> float:
    """Share of data sets in which the interval of the headline holds chance; `vectors(seed)` gives those of one."""
    held = 0
    for seed in range(runs):
        found = headline(run_task(task, folder, obs, vectors(seed), seed=seed, **options))
        held += found["low"] <= found["chance"] <= found["high"]
    return held / runs
