"""Control rows bound every model, and say what is missing where nothing is known."""

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from benchmark_cells import COUNTED, metrics_of, one_hot, table_of_cells, write_cells

from subcell.benchmarks.guards.controls import CONTROLS, deal_vectors, run_controls
from subcell.benchmarks.tasks import cell_line, external, localization
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
        import_module(f"subcell.benchmarks.tasks.{name}"),
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


def test_controls_bound_every_model(tmp_path):
    obs = table_of_cells(antibodies=64)
    vectors = one_hot(obs) + 0.1 * np.random.default_rng(0).normal(size=(len(obs), 4))
    cells = write_cells(tmp_path / "m.h5ad", obs, vectors)
    outs = {kind: {name: tmp_path / f"{name}.{kind}" for name in CONTROLS} for kind in ("json", "parquet")}
    run_controls(
        localization,
        cells,
        out_jsons=outs["json"],
        out_parquets=outs["parquet"],
        dataset="d",
        simulated=True,
        source_model="m",
        **COUNTED,
    )
    scores = {name: metrics_of(json.loads(path.read_text()))["macro_ap"] for name, path in outs["json"].items()}
    assert scores["perfect_features"]["value"] > 0.8  # pairs of locations in the test part are new
    for name in ("random_labels", "random_features"):
        assert scores[name]["low"] - 0.03 <= scores[name]["chance"] <= scores[name]["high"] + 0.03, name


def controls_of(task, folder, cells, **options):
    outs = {kind: {name: folder / f"{name}.{kind}" for name in CONTROLS} for kind in ("json", "parquet")}
    about = {"dataset": "d", "simulated": True, "source_model": "m"}
    run_controls(task, cells, out_jsons=outs["json"], out_parquets=outs["parquet"], **about, **{**COUNTED, **options})
    return {name: json.loads(path.read_text()) for name, path in outs["json"].items()}


def test_the_plate_alone_tells_lines_apart_that_have_one_each(tmp_path):
    obs = table_of_cells(antibodies=32)
    cells = write_cells(tmp_path / "m.h5ad", obs, np.zeros((len(obs), 2)))
    found = metrics_of(controls_of(cell_line, tmp_path, cells)["plate_alone"])["macro_ap"]
    assert found["value"] == 1
    assert found["chance"] < 0.6
    assert metrics_of(controls_of(localization, tmp_path, cells)["plate_alone"])["macro_ap"]["value"] < 0.6


@pytest.mark.parametrize(("task", "other"), [(external, "home_cells"), (localization, "train_cells")])
def test_controls_reach_classifiers_that_are_trained_on_another_dataset(task, other, tmp_path):
    """Their training cells get the control's vectors too; of a model's own they would differ in length and meaning."""
    home = table_of_cells(antibodies=64)
    away = table_of_cells(antibodies=32).assign(split=None, antibody=lambda obs: "X" + obs["antibody"])
    away = away.assign(gene="X" + away["gene"], plate="X" + away["plate"])
    away.index = "away " + away.index
    paths = [
        write_cells(tmp_path / f"{name}.h5ad", obs, np.zeros((len(obs), 3))) for name, obs in (("a", away), ("h", home))
    ]
    found = controls_of(task, tmp_path, paths[0], **{other: paths[1]})
    scores = {name: metrics_of(result)[task.HEADLINE] for name, result in found.items()}
    assert scores["perfect_features"]["value"] > 0.85
    for name in ("random_labels", "random_features", "plate_alone"):
        assert scores[name]["value"] < scores[name]["chance"] + 0.15, name


def test_dealt_vectors_stay_together_and_change_owner():
    groups = pd.Series(["a"] * 3 + ["b"] * 2 + ["c"] * 4)
    vectors = np.array([[0], [0], [0], [1], [1], [2], [2], [2], [2]], np.float32)
    dealt = deal_vectors(vectors, groups, np.random.default_rng(0))
    for _, rows in groups.groupby(groups):
        assert len(np.unique(dealt[rows.index])) == 1
        assert dealt[rows.index][0] != vectors[rows.index][0]
