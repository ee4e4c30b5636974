"""The table of all models on all benchmarks: places only where decided, shortcuts, spreads of seeds, controls apart."""

from dataclasses import replace

import numpy as np
import pytest

from subcell.benchmarks.statistics.bootstrap import bootstrap_mean, units_key
from subcell.benchmarks.statistics.result import Result, as_metric, kept, not_run, write_result
from subcell.reporting.page.cards import write_cards
from subcell.reporting.scores.leaderboard import LEADERBOARD_COLUMNS, leaderboard
from subcell.reporting.scores.results import read_benchmarks

UNITS = [f"HPA{number}" for number in range(20)]
MODELS = {
    "good": {"kind": "subcell", "size": "tiny", "seed": 1},
    "again": {"kind": "subcell", "size": "tiny", "seed": 2},
    "random_vit": {"kind": "random_vit", "size": "tiny", "seed": 42},
    "shortcuts": {"kind": "shortcuts"},
}


def scored(model, mean, *, spread=0.02, chance=0.2, seed=0, units=UNITS):
    """A result whose score is the mean of one value a unit."""
    values = mean + spread * np.random.default_rng(seed).normal(size=len(units))
    found = bootstrap_mean(values, bootstraps=300, seed=0)
    return Result(
        "localization",
        "demo",
        model,
        True,
        metrics=[as_metric("macro_ap", found, chance=chance, n=len(units), unit="antibody", seeds=3)],
        replicates={"macro_ap": kept(found)},
        units_key=units_key(units),
        details={"head_seeds": {"macro_ap_sd": 0.01}, "macro_ap": {"p_value": 0.02}},
    )


@pytest.fixture
def table_of(tmp_path):
    def table(*results, **options):
        paths = [tmp_path / f"{number}.json" for number in range(len(results))]
        for result, path in zip(results, paths, strict=True):
            write_result(result, path, path.with_suffix(".parquet"))
        return leaderboard(read_benchmarks(paths), models=MODELS, **options).set_index("model")

    return table


def test_places_and_ranks_only_as_far_as_resamples_decide(table_of):
    table = table_of(scored("good", 0.8), scored("again", 0.5, seed=1), scored("random_vit", 0.499, seed=2))
    assert table["rank"].tolist() == [1, 2, 3]
    assert table.loc["good", ["place", "rank_low", "rank_high"]].tolist() == ["best", 1, 1]
    assert table.loc["again", ["place", "rank_low", "rank_high"]].tolist() == ["", 2, 3]
    assert table.loc["good", "difference"] == pytest.approx(0.3, abs=0.02)
    assert table.loc["good", "p_holm"] < 1e-6
    assert np.isnan(table.loc["random_vit", "difference"])


def test_p_values_are_corrected_over_tasks_as_well_as_models(table_of):
    one = [scored("good", 0.503, seed=1), scored("random_vit", 0.5, seed=2)]
    other = [replace(result, benchmark="retrieval") for result in one]
    table = table_of(*one, *other)
    p = table.loc["good", "p"].unique()
    assert 0.001 < p[0] < 0.4
    assert table.loc["good", "p_holm"].tolist() == pytest.approx([min(1, 2 * p[0])] * 2)


def test_none_is_second_where_none_is_best(table_of):
    table = table_of(scored("good", 0.8), scored("again", 0.799, seed=1), scored("random_vit", 0.3, seed=2))
    assert table["place"].tolist() == ["", "", ""]
    table = table_of(scored("good", 0.8), scored("again", 0.6, seed=1), scored("random_vit", 0.3, seed=2))
    assert table["place"].tolist() == ["best", "second", ""]


def test_a_shortcut_near_the_best_model_makes_a_benchmark_say_nothing(table_of):
    told = table_of(scored("good", 0.6), scored("shortcuts", 0.5))
    assert told.loc["shortcuts", "above_chance"] == pytest.approx(0.75, abs=0.02)
    assert told["informative"].all()
    blind = table_of(scored("good", 0.6), scored("shortcuts", 0.56))
    assert not blind["informative"].any()
    assert table_of(scored("good", 0.6))["informative"].isna().all()
    at_chance = table_of(scored("good", 0.19), scored("shortcuts", 0.19))
    assert not at_chance["informative"].any()


def test_the_plate_alone_is_a_shortcut_too(table_of):
    table = table_of(scored("good", 0.6), scored("shortcuts", 0.3), scored("plate_alone", 0.59))
    assert not table["informative"].any()
    assert table.loc["plate_alone", "role"] == "control"
    assert table_of(scored("good", 0.6), scored("plate_alone", 0.3))["informative"].all()
    missing = not_run("needs plate", benchmark="localization", dataset="demo", model="plate_alone", simulated=True)
    assert table_of(scored("good", 0.6), missing)["informative"].isna().all()


def test_controls_have_no_rank_and_never_win(table_of):
    table = table_of(scored("good", 0.8), scored("perfect_features", 1.0), scored("random_vit", 0.3))
    assert table.loc["perfect_features", "role"] == "control"
    assert table["rank"].isna().to_dict() == {"good": False, "perfect_features": True, "random_vit": False}
    assert table.loc["good", "above_chance"] == 1


def test_spreads_of_classifiers_and_of_pretraining_stand_apart(table_of):
    table = table_of(scored("good", 0.6, spread=0), scored("again", 0.8, spread=0), scored("random_vit", 0.3))
    assert table.loc["good", "head_sd"] == 0.01
    assert table.loc["good", "null_p"] == 0.02
    assert table.loc["good", "pretraining_sd"] == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert table.loc["good", "seed_models"] == 2
    assert np.isnan(table.loc["random_vit", "pretraining_sd"])


def test_what_cannot_be_paired_has_no_difference(table_of):
    table = table_of(scored("good", 0.8, units=UNITS[1:]), scored("random_vit", 0.3))
    assert np.isnan(table.loc["good", "difference"])
    assert table.loc["good", ["rank", "rank_low", "rank_high"]].tolist() == [1, 1, 1]


def test_what_was_not_run_stays_in_the_table(table_of):
    missing = not_run("needs locations", benchmark="localization", dataset="demo", model="good", simulated=True)
    table = table_of(missing, scored("random_vit", 0.3))
    assert table.loc["good", ["status", "reason"]].tolist() == ["not run", "needs locations"]
    assert list(table.reset_index()[list(LEADERBOARD_COLUMNS)]) == list(LEADERBOARD_COLUMNS)


def test_cards_say_limits_and_bad_scores(table_of, tmp_path):
    board = table_of(scored("good", 0.6), scored("shortcuts", 0.58), scored("random_vit", 0.21)).reset_index()
    config = {
        "datasets": {"demo": {"source": "simulate", "split": {"by": "gene", "train": 0.6, "valid": 0.15}}},
        "models": {
            **MODELS,
            "released": {"kind": "subcell", "released": "auto", "recipe": "vit-prots-pool", "size": "tiny", "seed": 42},
        },
    }
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "model_gone.md").touch()
    write_cards(tmp_path / "cards", config, board)
    cards = {path.stem: path.read_text() for path in (tmp_path / "cards").iterdir()}
    assert set(cards) == {
        "dataset_demo",
        "model_good",
        "model_again",
        "model_random_vit",
        "model_shortcuts",
        "model_released",
    }
    assert "say nothing of biology" in cards["dataset_demo"]
    assert "`localization` is not informative" in cards["dataset_demo"]
    assert "split by gene, 60% train" in cards["dataset_demo"]
    assert "| benchmark | units |" in cards["dataset_demo"]
    assert "held-out" not in cards["dataset_demo"]
    assert "| demo (simulated) | localization | macro_ap 0.2" in cards["model_random_vit"]
    assert "no model to use" in cards["model_random_vit"]
    assert "may have been in its training data" in cards["model_released"]
    assert "Released SubCell network (ViT-B/16), ViT-ProtS-Pool" in cards["model_released"]
    assert "weights: MIT, https://virtualcellmodels" in cards["model_released"]
    assert "tiny" not in cards["model_released"]
    assert "seed" not in cards["model_released"]
    assert "may have been in its training data" not in cards["model_good"]
