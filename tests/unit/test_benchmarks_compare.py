"""Models in pairs, and the files of a result."""

import json

import numpy as np
import pytest
from benchmark_cells import (
    COUNTED,
    PLACES,
    metrics_of,
    one_hot,
    run,
    table_of_cells,
)

from subcell.benchmarks.statistics.bootstrap import draw_units
from subcell.benchmarks.statistics.compare import compare_models, holm
from subcell.benchmarks.statistics.metrics import macro_ap
from subcell.benchmarks.statistics.result import Metric, Result, not_run, write_result
from subcell.benchmarks.tasks import localization


def test_better_model_beats_the_reference_in_pairs(tmp_path):
    obs = table_of_cells(antibodies=64)
    rng = np.random.default_rng(0)
    vectors = {
        "good": one_hot(obs) + 0.3 * rng.normal(size=(len(obs), 4)),
        "random_vit": rng.normal(size=(len(obs), 4)),
    }
    results, tables = {}, {}
    for name, some in vectors.items():
        _, results[name], tables[name] = run(localization.run, tmp_path, obs, some, model=name)
    (row,) = compare_models(results)
    assert row["model"] == "good"
    assert row["low"] > 0.3
    assert row["low"] <= row["value"] <= row["high"]
    assert row["p"] < 1e-6
    scores = {name: metrics_of(result)["macro_ap"]["value"] for name, result in results.items()}
    assert row["value"] == pytest.approx(scores["good"] - scores["random_vit"])
    assert compare_models(results, reference="absent") == []
    other_units = {**results["good"], "units_key": "another"}
    assert compare_models({**results, "good": other_units}) == []


def test_paired_resamples_are_those_of_both_models_together(tmp_path):
    """The interval of a difference is that of scoring both models on the same resampled rows."""
    obs = table_of_cells()
    rng = np.random.default_rng(1)
    results, tables = {}, {}
    for name, noise in (("one", 0.5), ("random_vit", 1.0)):
        some = one_hot(obs) + noise * rng.normal(size=(len(obs), 4))
        _, results[name], tables[name] = run(localization.run, tmp_path, obs, some, model=name)
    columns = [f"truth_{name}" for name in PLACES], [f"prob_{name}" for name in PLACES]
    truth, units = tables["one"][columns[0]].to_numpy(bool), tables["one"]["unit"].to_numpy(str)
    names, codes = np.unique(units, return_inverse=True)
    weights = draw_units(len(names), bootstraps=COUNTED["bootstraps"], seed=COUNTED["seed"])[:, codes]
    both = [macro_ap(truth, tables[name][columns[1]].to_numpy(), weights) for name in ("one", "random_vit")]
    (row,) = compare_models(results)
    np.testing.assert_allclose(row["high"] - row["value"], 1.96 * (both[0] - both[1]).std(ddof=1), rtol=1e-3)


def test_holm_follows_its_definition():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert np.isnan(holm([0.01, float("nan")])[1])
    assert holm([0.01, float("nan")])[0] == 0.01


def test_result_files(tmp_path):
    metric = Metric("macro_ap", np.float32(0.5), float("nan"), None, 0.1, np.int64(7), 2, "gene")
    write_result(
        Result("b", "d", "m", np.bool_(True), metrics=[metric], details={"a": np.arange(2), "b": (1, float("inf"))}),
        tmp_path / "r" / "x.json",
        tmp_path / "r" / "x.parquet",
    )
    written = json.loads((tmp_path / "r" / "x.json").read_text())
    assert written["metrics"] == [
        {
            "metric": "macro_ap",
            "value": 0.5,
            "low": None,
            "high": None,
            "chance": 0.1,
            "n": 7,
            "seeds": 2,
            "unit": "gene",
        }
    ]
    assert written["simulated"] is True
    assert written["details"] == {"a": [0, 1], "b": [1, None]}
    assert not_run("needs x", benchmark="b", dataset="d", model="m", simulated=False).status == "not run"
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["x.json", "x.parquet"]
