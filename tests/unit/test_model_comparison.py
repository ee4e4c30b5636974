"""Trainings compared on their validation cells: the kept weights' values, paired by seed."""

import pandas as pd
import pytest
from scipy import stats

from subcell.errors import ConfigError
from subcell.model.loop.comparison import compare_options, validation_scores, write_comparison


def curves(macro_ap, retrieval):
    """Two validations, and a step of training whose metric has a validation's name."""
    rows = [(1, 1, "train", "macro_ap", 9.0)]
    for number, (one, other) in enumerate(zip(macro_ap, retrieval, strict=True), start=1):
        rows += [(10 * number, number, "valid", "macro_ap", one), (10 * number, number, "valid", "retrieval", other)]
    return pd.DataFrame(rows, columns=["step", "epoch", "split", "metric", "value"])


@pytest.mark.parametrize(
    ("select", "macro_ap", "retrieval"), [("last", 0.2, 0.3), ("retrieval", 0.1, 0.5), ("macro_ap", 0.2, 0.3)]
)
def test_the_values_are_those_of_the_weights_that_were_kept(select, macro_ap, retrieval):
    found = validation_scores(curves([0.1, 0.2], [0.5, 0.3]), select)
    assert found == {"macro_ap": macro_ap, "retrieval": retrieval}


def test_a_training_without_validation_cells_has_no_value():
    assert validation_scores(curves([], []), "last") == {}


def test_differences_are_paired_by_seed(tmp_path):
    """Seeds differ much more than the options do."""
    values = {"plain": {1: 0.1, 2: 0.5, 3: 0.9}, "more": {3: 0.93, 1: 0.11, 2: 0.52}}
    paths, models = {}, {}
    for option, seeds in values.items():
        for seed, value in seeds.items():
            name = f"{option}_{seed}"
            paths[name], models[name] = tmp_path / f"{name}.parquet", {"seed": seed, "select": "last"}
            curves([value], [0.5]).to_parquet(paths[name])
    for reference in ("plain", "plain_1"):
        write_comparison(paths, models, reference=reference, out_tsv=tmp_path / "v.tsv")
        table = pd.read_csv(tmp_path / "v.tsv", sep="\t").set_index(["option", "metric"])
        row = table.loc[("more", "macro_ap")]
        assert (row["seeds"], row["better"]) == (3, 3)
        assert row[["mean", "difference", "difference_sd"]].tolist() == pytest.approx([0.52, 0.02, 0.01])
        low, high = stats.ttest_1samp([0.01, 0.02, 0.03], 0).confidence_interval()
        assert row[["low", "high"]].tolist() == pytest.approx([low, high], abs=1e-4)
        assert pd.isna(table.loc[("plain", "macro_ap"), "difference"])
        assert table.loc[("more", "retrieval"), "better"] == 0


def test_a_reference_that_was_not_trained_is_said():
    with pytest.raises(ConfigError, match=r"no training is called other_SEED; set `scoring.reference`, of plain"):
        compare_options({"plain": {1: {"macro_ap": 0.5}}}, "other")
