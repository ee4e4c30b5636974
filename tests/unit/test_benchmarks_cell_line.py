"""Cell line: told apart by antibodies or by plates, and what is missing is said."""

import numpy as np
import pandas as pd
import pytest
from benchmark_cells import LINES, antibody_number, metrics_of, one_hot, run, table_of_cells

from subcell.benchmarks.tasks import cell_line
from subcell.benchmarks.tasks.cell_line import split_by_plate


def test_cell_lines_are_told_apart_by_antibodies_where_plates_hold_one_line(tmp_path):
    obs = table_of_cells()
    noise = 0.1 * np.random.default_rng(0).normal(size=(len(obs), 2))
    _, written, predictions = run(cell_line.run, tmp_path, obs, one_hot(obs, "cell_line") + noise)
    scores = metrics_of(written)
    assert scores["macro_ap"]["value"] > 0.99
    assert scores["accuracy"]["value"] > 0.99
    assert scores["accuracy"]["chance"] == 0.5
    # Of each class as of their mean.
    of_classes = [one["chance"] for one in written["details"]["classes"]]
    assert np.mean(of_classes) == pytest.approx(scores["macro_ap"]["chance"])
    assert "each plate holds one line" in written["settings"]["split"]
    assert set(predictions["cell_id"]) == set(obs.index[obs["split"] == "test"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cell_line": None}, "needs cell_line"),
        ({"cell_line": "HeLa"}, "needs two cell lines"),
        ({"split": None}, "needs split"),
        ({"antibody": None, "gene": None}, "needs antibody or gene"),
    ],
)
def test_what_cell_line_lacks(tmp_path, change, reason):
    obs = table_of_cells().assign(**change)
    _, written, predictions = run(cell_line.run, tmp_path, obs, np.ones((len(obs), 2)))
    assert written["status"] == "not run"
    assert written["reason"].startswith(reason)
    assert predictions.empty


def test_whole_plates_are_held_out_where_every_line_has_three():
    plate = pd.Series([f"P{i}" for i in range(12)] * 2)
    nested = pd.Series([LINES[i % 2] for i in range(12)] * 2)
    split = split_by_plate(plate, nested)
    assert (split.groupby(plate).nunique() == 1).all()
    assert set(zip(nested, split, strict=True)) == {
        (line, side) for line in LINES for side in ("train", "valid", "test")
    }
    assert split.equals(split_by_plate(plate, nested))
    assert split_by_plate(plate[:4], nested[:4]) is None
    crossed = split_by_plate(pd.Series(list("aabbcc")), pd.Series(list(LINES) * 3))
    assert sorted(crossed) == sorted(["train", "valid", "test"] * 2)


def test_cell_lines_by_plate(tmp_path):
    obs = table_of_cells()
    obs["plate"] = obs["cell_line"] + (antibody_number(obs) % 5).astype(str)
    _, written, _ = run(cell_line.run, tmp_path, obs.assign(split=None), one_hot(obs, "cell_line"))
    assert written["status"] == "ok"
    assert written["metrics"][0]["unit"] == "plate"
    assert written["settings"]["split"].startswith("by plate")
