"""A task of the user's, as the documentation shows it, and a model of the user's in three lines."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from benchmark_example import headline, noise, run_task, table_of_proteins, write_cells

from subcell.benchmarks.guards.controls import CONTROLS, load_file, run_controls
from subcell.benchmarks.guards.leakage import TRAINING
from subcell.benchmarks.guards.scored import note_scored, read_scored
from subcell.config.check import resolve
from subcell.config.own_tasks import unknown_settings
from subcell.config.sections import TestSet as Wanted
from subcell.errors import ConfigError

DOCS = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
MODEL, TASK, TEST_SET, DATASET = re.findall(r"```yaml\n(.*?)```", DOCS, flags=re.DOTALL)
(CODE,) = re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL)
DEMO = {"datasets": {"demo": {"source": "simulate"}}}
TABLE = table_of_proteins(24, cells=2)


@pytest.fixture
def task(tmp_path):
    (tmp_path / "brightness.py").write_text(CODE)
    return load_file("brightness", tmp_path / "brightness.py")


def test_the_documented_blocks_are_valid():
    model = yaml.safe_load(MODEL)
    assert len(model["models"]["mine"]) == 3
    assert resolve({**DEMO, **model})["models"]["mine"]["architecture"] == "vit_small_patch16_224"
    config = resolve({**DEMO, **yaml.safe_load(TASK)})
    assert config["own_tasks"]["brightness"]["settings"] == {"channel": "mean_protein"}
    config = yaml.safe_load(DATASET)
    known = [name for name in config["datasets"]["drugs"]["benchmarks"] if name != "perturbation"]
    config["datasets"]["drugs"]["benchmarks"] = known
    assert resolve(config)["datasets"]["drugs"]["benchmarks"] == known


def test_the_documented_test_set_has_every_key():
    config = resolve(yaml.safe_load(TEST_SET))
    assert config["datasets"]["hpa"]["split"]["by"] == "paper"
    (wanted,) = config["scoring"]["test_sets"].values()
    assert set(wanted) == set(Wanted.model_fields)
    assert all(wanted.values())
    assert wanted["train_on"] in config["datasets"]
    folder = config["datasets"]["hpa"]["split"]["lists"]
    assert wanted["seen_antibodies"] == [f"{folder}/{side}_antibodies.txt" for side in TRAINING]


def test_the_documented_task_scores_and_has_controls(task, tmp_path):
    obs = TABLE.assign(mean_protein=np.random.default_rng(0).normal(size=len(TABLE)))
    vectors = np.column_stack([obs["mean_protein"], noise(len(obs), 3, 0)])
    found = headline(run_task(task, tmp_path, obs, vectors, channel="mean_protein"))
    assert (found["metric"], found["unit"]) == ("r2", "antibody")
    assert 0.9 < found["low"] <= found["value"]
    assert run_task(task, tmp_path, TABLE, vectors, channel="mean_protein")["reason"] == "needs mean_protein"
    cells = write_cells(tmp_path / "m.h5ad", obs, vectors)
    outs = {kind: {name: tmp_path / f"{name}.{kind}" for name in CONTROLS} for kind in ("json", "parquet")}
    run_controls(
        task, cells, out_jsons=outs["json"], out_parquets=outs["parquet"], dataset="d", simulated=True, source_model="m",
        channel="mean_protein", bootstraps=100,
    )  # fmt: skip
    scores = {name: json.loads(path.read_text())["metrics"][0]["value"] for name, path in outs["json"].items()}
    assert scores["perfect_features"] > 0.99
    assert scores["random_labels"] < 0.1
    assert scores["random_features"] < 0.1


def test_a_control_that_lacks_something_says_so_and_leaves_the_others(task, tmp_path):
    del task.perfect_features
    obs = TABLE.assign(mean_protein=np.arange(len(TABLE), dtype=float), plate=None)
    cells = write_cells(tmp_path / "m.h5ad", obs, noise(len(obs), 3, 0))
    outs = {kind: {name: tmp_path / f"{name}.{kind}" for name in CONTROLS} for kind in ("json", "parquet")}
    run_controls(
        task, cells, out_jsons=outs["json"], out_parquets=outs["parquet"], dataset="d", simulated=True, source_model="m",
        channel="mean_protein", bootstraps=100,
    )  # fmt: skip
    written = {name: json.loads(path.read_text()) for name, path in outs["json"].items()}
    assert {result["benchmark"] for result in written.values()} == {"brightness"}
    assert {name: result["reason"] for name, result in written.items() if result["status"] != "ok"} == {
        "perfect_features": "needs a function `perfect_features` beside `run`",
        "plate_alone": "needs plate",
    }


@pytest.mark.parametrize(
    ("code", "message"),
    [(None, "no Python file"), ("def run(", "cannot be loaded .SyntaxError"), ("x = 1", "has no function `run`")],
)
def test_a_file_that_is_no_task_is_named(tmp_path, code, message):
    file = tmp_path / "task.py"
    if code is not None:
        file.write_text(code)
    with pytest.raises(ConfigError, match=rf"own_tasks\.mine\.file: .*task\.py.*{message}"):
        load_file("mine", file)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"benchmarks": ["brightnes"], "own_tasks": {"brightness": {"file": "x.py"}}}, "did you mean `brightness`"),
        ({"own_tasks": {"localization": {"file": "x.py"}}}, "is a benchmark of the workflow"),
        ({"models": {"random_labels": {"kind": "shortcuts"}}}, "is a control row"),
        ({"datasets": {"demo": {"source": "simulate", "benchmarks": ["x"]}}}, "datasets.demo.benchmarks: there is no"),
        (
            {"scoring": {"test_sets": {"demo": {"train_on": "other"}}}},
            "scoring.test_sets.demo.train_on: no dataset `other`",
        ),
    ],
)
def test_names_that_do_not_fit(config, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve({**DEMO, **config})


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (
            {"chanel": 1},
            CODE,
            "own_tasks.mine.settings.chanel: `run` in {file} takes no such setting; did you mean `channel`?",
        ),
        (
            {"xyz": 1},
            CODE,
            "own_tasks.mine.settings.xyz: `run` in {file} takes no such setting; it takes: channel, bootstraps, seed",
        ),
        ({"channel": 1, "bootstraps": 100}, CODE, None),
        ({"anything": 1}, "def run(cells, **settings):\n    return settings['anything']\n", None),
        ({"truth": 1}, "def run(cells, **_other): ...\ndef perfect_features(obs, truth): ...\n", None),
        ({"anything": 1}, "def run(:", None),
        ({"anything": 1}, "from elsewhere import run", None),
    ],
)
def test_a_setting_that_the_task_does_not_take_is_refused_with_the_likely_one(tmp_path, settings, code, message):
    file = tmp_path / "task.py"
    file.write_text(code)
    problems = unknown_settings({"mine": {"file": str(file), "settings": settings}})
    assert len(problems) == (message is not None)
    assert all(line.startswith(message.format(file=file)) for line in problems)


def test_a_file_that_is_not_there_is_left_to_its_job():
    assert unknown_settings({"mine": {"file": "absent.py", "settings": {"anything": 1}}}) == []


def test_what_was_scored_is_noted_once_a_model_and_its_vectors(task, tmp_path):
    obs = TABLE.assign(mean_protein=np.arange(len(TABLE), dtype=float))
    log = tmp_path / "test_scored.tsv"
    for number in (0, 0, 1):
        cells = write_cells(tmp_path / f"{number}.h5ad", obs, noise(len(obs), 3, number))
        result = task.run(
            cells, out_json=tmp_path / "a.json", out_parquet=tmp_path / "a.parquet", dataset="d", model="m", simulated=True,
            channel="mean_protein", bootstraps=100, seed=0,
        )  # fmt: skip
        note_scored(result, cells, log)
    table = read_scored(log)
    assert len(table) == 2  # the same again is no second look
    assert table["vectors_sha256"].nunique() == 2
    assert set(table["benchmark"]) == {"brightness"}
