"""The tidy table: every score once, differences in pairs, and what was not run."""

import numpy as np
import pandas as pd
import pytest

from subcell.benchmarks.statistics.bootstrap import bootstrap_metric, units_key
from subcell.benchmarks.statistics.metrics import macro_ap
from subcell.benchmarks.statistics.result import Metric, Result, as_metric, kept, not_run, write_result
from subcell.errors import SubcellError
from subcell.reporting.scores.summary import NOT_RUN_COLUMNS, SUMMARY_COLUMNS, collect_summary


def predictions(quality, seed=0):
    """Predictions of 40 cells of ten antibodies in two classes, and their score; `quality` 1 is perfect, 0 is random."""
    rng = np.random.default_rng(seed)
    units = np.repeat([f"HPA{i}" for i in range(10)], 4)
    truth = np.repeat([[i % 2 == 0, i % 3 == 0] for i in range(10)], 4, axis=0)
    scores = quality * truth + (1 - quality) * rng.random(truth.shape)
    table = pd.DataFrame({"cell_id": [f"c{i}" for i in range(40)], "unit": units})
    for column, name in enumerate(("A", "B")):
        table[f"truth_{name}"] = truth[:, column].astype(np.uint8)
        table[f"prob_{name}"] = scores[:, column].astype(np.float32)
    return table, bootstrap_metric(macro_ap, truth, scores.astype(np.float32), units, bootstraps=200, seed=0)


@pytest.fixture
def run_of(tmp_path):
    """Write results, collect them, and give back the three files' contents."""

    def collect(entries, **options):
        scores, tables = [], []
        for number, (result, table) in enumerate(entries):
            scores.append(tmp_path / f"{number}.json")
            tables.append(tmp_path / f"{number}.parquet")
            write_result(result, scores[-1], tables[-1], table)
        outs = {name: tmp_path / "out" / name for name in ("summary.tsv", "not_run.tsv", "summary.txt")}
        collect_summary(
            scores,
            out_summary=outs["summary.tsv"],
            out_not_run=outs["not_run.tsv"],
            out_text=outs["summary.txt"],
            head_seeds=5,
            **options,
        )
        summary, missing = (pd.read_csv(outs[name], sep="\t") for name in ("summary.tsv", "not_run.tsv"))
        return summary, missing, outs["summary.txt"].read_text()

    return collect


def scored(model, quality, dataset="demo", benchmark="localization"):
    table, found = predictions(quality)
    metrics = [
        as_metric("macro_ap", found, chance=0.45, n=10, unit="antibody", seeds=5),
        Metric("accuracy", 0.5, None, None, None, 10, 5, "antibody"),
    ]
    resampled = {"replicates": {"macro_ap": kept(found)}, "units_key": units_key(table["unit"])}
    return Result(benchmark, dataset, model, True, metrics=metrics, **resampled), table


def test_scores_differences_and_what_is_missing(run_of):
    missing = not_run("needs locations", benchmark="localization", dataset="real", model="good", simulated=False)
    entries = [scored("random_vit", 0.0), scored("good", 1.0), (missing, None)]
    summary, not_run_table, text = run_of(entries)
    assert tuple(summary.columns) == SUMMARY_COLUMNS
    assert tuple(not_run_table.columns) == NOT_RUN_COLUMNS
    assert not_run_table.to_dict("records") == [
        {"dataset": "real", "model": "good", "benchmark": "localization", "reason": "needs locations"}
    ]
    left = summary[summary["dataset"] == "real"]
    assert len(left) == 1
    assert left["value"].isna().all()
    assert not left["simulated"].any()
    difference = summary[summary["metric"] == "macro_ap_minus_random_vit"]
    assert difference["model"].tolist() == ["good"]
    row = difference.iloc[0]
    of_model = summary[summary["metric"] == "macro_ap"].set_index("model")["value"]
    assert row["value"] == pytest.approx(of_model["good"] - of_model["random_vit"], abs=1e-5)
    assert 0 < row["low"] <= row["value"] <= row["high"]
    assert (row["chance"], row["n"], row["seeds"], row["simulated"]) == (0, 10, 5, True)
    assert len(summary) == 2 * 2 + 1 + 1
    assert "localization on demo (simulated)" in text
    assert "not run: needs locations" in text
    assert "against random_vit" in text


def test_datasets_and_benchmarks_are_compared_apart(run_of):
    entries = [
        scored(model, quality, dataset, benchmark)
        for dataset in ("one", "two")
        for benchmark in ("localization", "cell_line")
        for model, quality in (("random_vit", 0.1), ("good", 0.9))
    ]
    summary, _, _ = run_of(entries)
    differences = summary[summary["metric"].str.contains("_minus_")]
    assert len(differences) == 4
    assert not differences.duplicated(["dataset", "benchmark"]).any()


def test_without_the_reference_there_are_no_differences(run_of):
    entries = [scored("good", 0.9), scored("handcrafted", 0.5)]
    assert not run_of(entries)[0]["metric"].str.contains("_minus_").any()
    differences = run_of(entries, reference="handcrafted")[0]
    assert "macro_ap_minus_handcrafted" in differences["metric"].tolist()


def test_segmentation_shows_nuclei_and_cells(run_of):
    metrics = [Metric(f"{kind}_ap50", 0.8, 0.7, 0.9, None, 5, 0, "field") for kind in ("nuclei", "cells")]
    summary, _, text = run_of([(Result("segmentation", "demo", "compact", True, metrics=metrics), None)])
    assert summary["metric"].tolist() == ["nuclei_ap50", "cells_ap50"]
    assert "nuclei_ap50" in text
    assert "cells_ap50" in text


def test_a_run_with_nothing_scored(run_of):
    summary, missing, text = run_of([])
    assert summary.empty
    assert missing.empty
    assert text.strip() == ""


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    outs = {f"out_{name}": tmp_path / name for name in ("summary", "not_run", "text")}
    with pytest.raises(SubcellError, match=r"bad\.json"):
        collect_summary([tmp_path / "bad.json"], **outs)
