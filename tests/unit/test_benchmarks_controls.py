"""Control rows of cells of which nothing is known: every benchmark says what it needs."""

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from subcell.benchmarks.controls import CONTROLS, run_controls
from subcell.config.suite import SUITE
from subcell.embedding.store import create_vectors

UNKNOWN = (
    "locations",
    "gene",
    "antibody",
    "cell_line",
    "plate",
    "well",
    "compound",
    "mechanism",
    "control",
    "dose",
    "split",
)


@pytest.mark.parametrize("name", [name for name, task in SUITE.items() if task.controls])
def test_without_labels_no_control_is_scored(name, tmp_path):
    obs = pd.DataFrame(
        {"field_id": ["f1", "f1", "f2", "f2"], **dict.fromkeys(UNKNOWN)}, index=[f"c{n}" for n in range(4)]
    )
    with create_vectors(tmp_path / "cells.h5ad", obs, features=["0", "1"], uns={"model": "m"}) as file:
        file.write("X", 0, np.arange(8, dtype=np.float32).reshape(4, 2))
    outs = {kind: {control: tmp_path / f"{control}.{kind}" for control in CONTROLS} for kind in ("json", "parquet")}
    run_controls(
        import_module(f"subcell.benchmarks.{name}"),
        tmp_path / "cells.h5ad",
        out_jsons=outs["json"],
        out_parquets=outs["parquet"],
        dataset="d",
        simulated=False,
        source_model="m",
        bootstraps=20,
    )
    for path in outs["json"].values():
        result = json.loads(path.read_text())
        assert (result["status"], result["metrics"]) == ("not run", [])
        assert result["reason"].startswith("needs ")
