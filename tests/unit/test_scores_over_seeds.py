"""Scores over seeds of pretraining: means, and intervals that hold units and seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from subcell.reporting.scores.seeds import COLUMNS, as_rows, families, scores_over_seeds, write_scores_over_seeds


def model(seed, **other):
    return {"kind": "subcell", "size": "tiny", "seed": seed, **other}


MODELS = {
    **{f"plain_{seed}": model(seed) for seed in (1, 2, 3)},
    **{f"more_{seed}": model(seed, recipe="mae") for seed in (1, 2, 3)},
    "alone": model(1, size="base"),
    "shortcuts": {"kind": "shortcuts"},
}


def result(name, value, replicates, **other):
    metric = {"metric": "macro_ap", "value": value, "chance": 0.2}
    about = {"dataset": "demo", "benchmark": "localization", "model": name, "status": "ok", "simulated": True}
    return {**about, "metrics": [metric], "replicates": {"macro_ap": list(replicates)}, "units_key": "u", **other}


def test_models_that_differ_in_their_seed_alone_belong_together():
    assert families(MODELS) == {
        "plain": ["plain_1", "plain_2", "plain_3"],
        "more": ["more_1", "more_2", "more_3"],
        "alone": ["alone"],
    }


def test_ways_of_training_stay_apart_whatever_they_are_called():
    alike = {"a_1": model(1), "a_2": model(2), "b_1": model(1), "b_2": model(2)}
    assert families(alike) == {"a": ["a_1", "a_2"], "b": ["b_1", "b_2"]}
    taken = {"a_1": model(1), "a_2": model(2), "a": {"kind": "shortcuts"}}
    assert families(taken) == {"a_1": ["a_1", "a_2"]}
    others = {"a_3": model(3, recipe="mae"), "a_4": model(4, recipe="mae")}
    assert families({"a_1": model(1), "a_2": model(2), **others}) == {"a": ["a_1", "a_2"], "a_3": ["a_3", "a_4"]}
    assert families({"good": model(1), "again": model(2), "copy": model(2)}) == {"good": ["good", "again"]}


def test_a_seed_without_a_score_does_not_take_the_others_away():
    results = [result(f"plain_{seed}", 0.3, [0.3, 0.31]) for seed in (1, 2)] + [result("plain_3", None, [None, None])]
    results += [result(f"more_{seed}", 0.4, [0.4, 0.42]) for seed in (1, 2, 3)]
    table = scores_over_seeds(results, models=MODELS, reference="plain_3").set_index("model")
    assert table["seeds"].to_dict() == {"plain": 2, "more": 3}
    assert table.loc["more", "difference"] == pytest.approx(0.1)


def test_scores_of_unknown_units_are_averaged_and_not_compared():
    results = [
        result(f"{name}_{seed}", 0.3, [0.3, 0.31], units_key="") for name in ("plain", "more") for seed in (1, 2)
    ]
    table = scores_over_seeds(results, models=MODELS, reference="plain_1")
    assert len(table) == 2
    assert table["difference"].isna().all()


def test_where_units_say_all_the_interval_is_that_of_the_seeds():
    """Units are all alike: what is left is Student's t, and Welch's for the difference."""
    values = {"plain": (0.2, 0.3, 0.5), "more": (0.6, 0.9, 0.7)}
    results = [
        result(f"{name}_{seed}", value, [value] * 50)
        for name, family in values.items()
        for seed, value in enumerate(family, start=1)
    ]
    table = scores_over_seeds(results, models=MODELS, reference="plain_2").set_index("model")
    assert table.loc["plain", ["seeds", "mean", "chance"]].tolist() == pytest.approx([3, 1 / 3, 0.2])
    for name, family in values.items():
        assert table.loc[name, "sd"] == pytest.approx(np.std(family, ddof=1))
        wanted = stats.ttest_1samp(family, 0).confidence_interval()
        assert table.loc[name, ["low", "high"]].tolist() == pytest.approx(list(wanted))
    welch = stats.ttest_ind(values["more"], values["plain"], equal_var=False).confidence_interval()
    assert table.loc["more", "difference"] == pytest.approx(0.4)
    assert table.loc["more", ["difference_low", "difference_high"]].tolist() == pytest.approx(list(welch))
    assert table.loc["more", "reference"] == "plain"
    assert pd.isna(table.loc["plain", "reference"])
    assert np.isnan(table.loc["plain", "difference"])


def test_where_seeds_agree_the_interval_is_that_of_the_units_in_pairs():
    draws = 0.3 + 0.1 * np.random.default_rng(0).normal(size=1000)
    results = [result(f"plain_{seed}", 0.3, draws) for seed in (1, 2, 3)]
    results += [result(f"more_{seed}", 0.4, draws + 0.1) for seed in (1, 2, 3)]
    table = scores_over_seeds(results, models=MODELS, reference="plain_1").set_index("model")
    half = 1.96 * draws.std(ddof=1)
    assert table.loc["more", ["low", "high"]].tolist() == pytest.approx([0.4 - half, 0.4 + half], abs=1e-4)
    assert table.loc["more", ["difference_low", "difference_high"]].tolist() == pytest.approx([0.1, 0.1])


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Means over other units and other seeds: 95% of intervals hold it, where one of units alone held two thirds."""
    rng, held, of_units = np.random.default_rng(0), 0, 0
    for _ in range(400):
        units = rng.normal(0, 0.1, size=40)
        draws = rng.integers(0, 40, size=(200, 40))
        results = []
        for seed in (1, 2, 3):
            scores = 0.5 + rng.normal(0, 0.05) + units + rng.normal(0, 0.02, size=40)
            results.append(result(f"plain_{seed}", scores.mean(), scores[draws].mean(axis=1)))
        (row,) = scores_over_seeds(results, models=MODELS, reference="none").to_dict("records")
        held += row["low"] < 0.5 < row["high"]
        one = np.std(results[0]["replicates"]["macro_ap"], ddof=1)
        of_units += abs(results[0]["metrics"][0]["value"] - 0.5) < 1.96 * one
    assert 0.92 * 400 <= held <= 0.98 * 400
    assert of_units < 0.75 * 400


def test_what_was_not_scored_on_the_same_units_is_not_averaged_nor_compared():
    results = [result(f"plain_{seed}", 0.3, [0.3, 0.31]) for seed in (1, 2)]
    results += [result("plain_3", 0.5, [0.5, 0.4], status="not run")]
    other = [result(f"more_{seed}", 0.4, [0.4, 0.41], units_key="other") for seed in (1, 2)]
    table = scores_over_seeds([*results, *other], models=MODELS, reference="plain_1").set_index("model")
    assert table["seeds"].to_dict() == {"plain": 2, "more": 2}
    assert np.isnan(table.loc["more", "difference"])
    mixed = [*results[:1], result("plain_2", 0.3, [0.3, 0.31], units_key="other")]
    assert scores_over_seeds(mixed, models=MODELS, reference="alone").empty


def test_a_reference_of_one_seed_is_subtracted_too():
    results = [result(f"plain_{seed}", 0.3 + seed / 100, [0.3, 0.32]) for seed in (1, 2)]
    results += [result("shortcuts", 0.2, [0.2, 0.21])]
    (row,) = scores_over_seeds(results, models=MODELS, reference="shortcuts").to_dict("records")
    assert (row["model"], row["reference"]) == ("plain", "shortcuts")
    assert row["difference"] == pytest.approx(0.115)
    assert row["reference_seeds"] == 1


def test_the_table_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "seeds.tsv"
    write_scores_over_seeds(scores_over_seeds([], models={}, reference="x"), path)
    assert path.read_text().split() == list(COLUMNS)
    assert as_rows(path) == {}
    draws = np.random.default_rng(0).normal(0, 0.001, size=100)
    results = [result(f"plain_{seed}", 0.3 + seed / 1000, 0.3 + draws) for seed in (1, 2)]
    results += [result(f"more_{seed}", 0.4 + seed / 1000, 0.4 + draws) for seed in (1, 2)]
    write_scores_over_seeds(scores_over_seeds(results, models=MODELS, reference="plain_1"), path)
    first, second = as_rows(path)["demo"]["localization"]
    assert (first["model"], first["beats"], second["model"]) == ("more", 1, "plain")
    assert first["difference_interval"].startswith("+0.0")
    assert (second["difference"], second["reference"]) == (None, None)
