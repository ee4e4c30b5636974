"""Localization: perfect features score 1, random ones chance, and what is missing is said."""

import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from benchmark_cells import (
    LINES,
    PLACES,
    antibody_number,
    metrics_of,
    noise_like,
    one_hot,
    run,
    table_of_cells,
    write_cells,
)

from subcell.benchmarks.inputs.labels import label_table, released_classes
from subcell.benchmarks.probes import frozen, mlp
from subcell.benchmarks.probes.frozen import scored_classes
from subcell.benchmarks.statistics.metrics import macro_ap
from subcell.benchmarks.statistics.result import PROBABILITY, TRUTH
from subcell.benchmarks.tasks import cell_line, localization
from subcell.catalog.fields import write_fields
from subcell.errors import SubcellError


def test_perfect_features_localize(tmp_path):
    obs = table_of_cells()
    noise = 0.1 * np.random.default_rng(0).normal(size=(len(obs), 4))
    _, written, predictions = run(localization.run, tmp_path, obs, one_hot(obs) + noise)
    scores = metrics_of(written)
    assert next(iter(scores)) == "macro_ap"
    assert scores["macro_ap"]["value"] > 0.98
    assert scores["protein_macro_ap"]["value"] > 0.98
    assert scores["macro_ap"]["n"] == obs[obs["split"] == "test"]["gene"].nunique()
    assert scores["macro_ap"]["unit"] == "gene"
    test = obs[obs["split"] == "test"]
    assert sorted(predictions["cell_id"]) == sorted(test.index)
    truth = predictions[[f"truth_{name}" for name in PLACES]].to_numpy(bool)
    scored = predictions[[f"prob_{name}" for name in PLACES]].to_numpy()
    assert macro_ap(truth, scored, np.ones((1, len(truth))))[0] == pytest.approx(scores["macro_ap"]["value"])
    assert one_hot(test).mean() < scores["macro_ap"]["chance"] < one_hot(test).mean() + 0.05


def test_antibodies_of_a_gene_are_no_independent_evidence_where_the_split_is_by_gene(tmp_path):
    """Every antibody stands twice, as a second one of its gene: nothing more is known, and no interval may be narrower."""
    obs = table_of_cells()
    again = obs.assign(antibody="CAB" + obs["antibody"].str[3:], field_id="again" + obs["field_id"])
    twice = pd.concat([obs, again.set_axis("again" + obs.index)])
    vectors = one_hot(obs) + np.random.default_rng(0).normal(size=(len(obs), 4))
    width, units = {}, {}
    for by in ("gene", "antibody"):
        _, written, _ = run(localization.run, tmp_path, twice, np.tile(vectors, (2, 1)), model=by, split_by=by)
        score = metrics_of(written)["macro_ap"]
        width[by], units[by] = score["high"] - score["low"], (score["unit"], score["n"])
    genes = obs[obs["split"] == "test"]["gene"].nunique()
    assert units == {"gene": ("gene", genes), "antibody": ("antibody", 2 * genes)}
    assert width["antibody"] < 0.85 * width["gene"], "half the units that there are would be made up"


def test_a_unit_is_a_gene_an_antibody_or_unknown():
    obs = pd.DataFrame({"gene": ["A", "A", None, None], "antibody": ["x", "y", "z", ""]})
    assert frozen.resampled_units(obs, by="gene").tolist() == ["A", "A", "z", None]
    assert frozen.resampled_units(obs, by="paper").tolist() == ["x", "y", "z", None]
    assert frozen.resampled_units(obs[["gene"]], by="antibody").name == "gene"
    assert frozen.resampled_units(obs[[]], by="gene") is None


def test_the_probe_as_published_is_the_mean_of_its_classifiers_on_vectors_as_they_are(tmp_path):
    obs = table_of_cells(antibodies=64)
    vectors = one_hot(obs) + np.random.default_rng(0).normal(size=(len(obs), 4))
    vectors[:, 0] *= 100
    options = {"simulated": False, "head_seeds": 3}
    _, written, _ = run(localization.run, tmp_path, obs, vectors, **options)
    found = metrics_of(written)["as_published_macro_ap"]
    split, truth = obs["split"].to_numpy(str), one_hot(obs).astype(bool)
    sides = {name: split == name for name in ("train", "valid", "test")}
    fits = mlp.fit_mlps(vectors.astype(np.float32), truth, **sides, seeds=range(3))
    once = np.ones((1, int(sides["test"].sum())))
    each = [macro_ap(truth[sides["test"]], fit.probabilities, once)[0] for fit in fits]
    assert found["value"] == pytest.approx(np.mean(each), abs=1e-6)
    assert np.std(each) > 0
    assert found["low"] < found["value"] < found["high"]
    assert found["value"] != pytest.approx(metrics_of(written)["macro_ap"]["value"], abs=1e-3)
    _, simulated, _ = run(localization.run, tmp_path, obs, vectors, model="simulated")
    assert "as_published_macro_ap" not in metrics_of(simulated), "no published number is of simulated images"


def test_random_features_stay_at_chance(tmp_path):
    obs = table_of_cells(antibodies=64)
    vectors = np.random.default_rng(0).normal(size=(len(obs), 16))
    _, written, _ = run(localization.run, tmp_path, obs, vectors)
    for name in ("macro_ap", "macro_auc"):
        score = metrics_of(written)[name]
        assert score["low"] - 0.03 <= score["chance"] <= score["high"], name


def test_results_repeat_and_do_not_touch_torchs_generator(tmp_path):
    obs = table_of_cells()
    vectors = one_hot(obs) + np.random.default_rng(0).normal(size=(len(obs), 4))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    _, first, table = run(localization.run, tmp_path / "a", obs, vectors)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    _, second, again = run(localization.run, tmp_path / "b", obs, vectors)
    assert first == second
    pd.testing.assert_frame_equal(table, again)


def test_classes_follow_from_labels_alone(tmp_path):
    obs = table_of_cells()
    rng = np.random.default_rng(0)
    tables = [
        run(localization.run, tmp_path, obs, rng.normal(size=(len(obs), size)), model=f"m{size}")[2] for size in (3, 9)
    ]
    assert list(tables[0].columns) == list(tables[1].columns)
    shared = [name for name in tables[0] if not name.startswith("prob_")]
    pd.testing.assert_frame_equal(tables[0][shared], tables[1][shared])


def test_classes_with_too_few_held_out_antibodies_are_not_scored():
    truth = pd.DataFrame({"often": [1, 1, 1, 0], "once": [1, 0, 1, 0], "never": [0, 0, 1, 0]}, dtype=bool)
    split = pd.Series(["train", "test", "test", "test"])
    classes, others = scored_classes(truth, split, pd.Series(["a", "b", "c", "d"]), min_test_units=2)
    assert classes == ["often"]
    assert set(others) == {"once", "never"}
    assert "training" in others["never"]
    assert "1 held-out" in others["once"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"locations": None}, "needs locations"),
        ({"locations": "Cytosol"}, "needs two locations"),
        ({"split": None}, "needs split"),
        ({"antibody": None, "gene": None}, "needs antibody or gene"),
    ],
)
def test_what_localization_lacks(tmp_path, change, reason):
    obs = table_of_cells().assign(**change)
    result, written, predictions = run(localization.run, tmp_path, obs, np.ones((len(obs), 2)))
    assert result.status == written["status"] == "not run"
    assert written["reason"].startswith(reason)
    assert written["metrics"] == []
    assert predictions.empty


def test_localization_without_validation_or_power_is_not_run(tmp_path):
    obs = table_of_cells()
    without = obs.assign(split=obs["split"].replace("valid", "train"))
    assert "valid" in run(localization.run, tmp_path, without, np.ones((len(obs), 2)))[1]["reason"]
    weak = run(localization.run, tmp_path, obs, np.ones((len(obs), 2)), min_test_antibodies=99)[1]
    assert "at least 99 held-out" in weak["reason"]
    unlabelled = obs.assign(locations=obs["locations"].where(obs["split"] != "valid", "Elsewhere"))
    assert "valid" in run(localization.run, tmp_path, unlabelled, np.ones((len(obs), 2)))[1]["reason"]


def test_columns_that_a_dataset_never_had(tmp_path):
    obs = table_of_cells()[["field_id"]]
    assert run(localization.run, tmp_path, obs, np.ones((len(obs), 2)))[1]["reason"] == "needs locations"
    assert run(cell_line.run, tmp_path, obs, np.ones((len(obs), 2)))[1]["reason"] == "needs cell_line"


def test_a_leak_ends_it_with_the_name(tmp_path):
    obs = table_of_cells()
    leaky = obs.assign(gene="SAME")
    with pytest.raises(SubcellError, match=r"d, localization: 1 genes are both .*\(SAME\)"):
        run(localization.run, tmp_path, leaky, one_hot(obs))
    settings = run(localization.run, tmp_path, leaky, one_hot(obs), split_by="paper")[1]["settings"]
    assert settings["genes_in_train_and_test"] == 1
    assert settings["antibodies_in_train_and_test"] == settings["fields_in_train_and_test"] == 0


def test_an_antibody_of_two_genes_leaks_either(tmp_path):
    obs = table_of_cells()
    first = {side: obs.loc[obs["split"] == side, "gene"].iloc[0] for side in ("train", "test")}
    both = obs.assign(gene=obs["gene"].replace(first["test"], f"{first['test']};{first['train']}"))
    with pytest.raises(SubcellError, match=rf"1 genes are both .*\({first['train']}\)"):
        run(localization.run, tmp_path, both, one_hot(obs))


def test_probes_find_what_the_mlp_finds(tmp_path):
    obs = table_of_cells(antibodies=64)
    scores = metrics_of(run(localization.run, tmp_path, obs, one_hot(obs) + 0.1 * noise_like(obs, 4))[1])
    for name in ("linear_macro_ap", "knn_macro_ap", "held_out_line_macro_ap", "macro_ap_grouped"):
        assert scores[name]["value"] > 0.9, name


def test_a_line_that_was_left_out_needs_vectors_without_the_line(tmp_path):
    """Vectors that say the location in another way in each line are of no use in a new one."""
    obs = table_of_cells(antibodies=64)
    truth, other = one_hot(obs), (obs["cell_line"] == LINES[1]).to_numpy()[:, None]
    vectors = np.hstack([truth * other, truth * ~other]) + 0.1 * noise_like(obs, 8)
    scores = metrics_of(run(localization.run, tmp_path, obs, vectors)[1])
    assert scores["linear_macro_ap"]["value"] > 0.95
    assert scores["held_out_line_macro_ap"]["value"] < 0.6
    of_genes = metrics_of(run(localization.run, tmp_path, obs.assign(label_level="gene"), vectors)[1])
    assert "line_invariance_macro_ap" in of_genes
    assert "held_out_line_macro_ap" not in of_genes


def test_held_out_antibodies_are_of_genes_that_train(tmp_path):
    obs = table_of_cells(antibodies=64)
    twice = obs.assign(gene=obs["split"] + (antibody_number(obs) // 8).astype(str))
    result = run(localization.run, tmp_path, twice, one_hot(obs) + 0.1 * noise_like(obs, 4))[1]
    score = metrics_of(result)["held_out_antibody_macro_ap"]
    assert score["value"] > score["chance"]
    train = twice[twice["split"] == "train"]
    assert (score["unit"], score["n"]) == ("gene", train["gene"].nunique())
    said = result["settings"]["held_out_otherwise"]
    assert said.startswith("held_out_antibody_macro_ap, held_out_line_macro_ap: ")
    assert "a network that was trained on this dataset has seen them" in said
    alone = run(localization.run, tmp_path, obs, one_hot(obs))[1]
    assert "two antibodies" in alone["details"]["scores_not_given"]["held_out_antibody_macro_ap"]


def test_an_unseen_gene_has_no_antibody_in_training_labelled_or_not(tmp_path):
    """Half of the test genes have an antibody in training, half of those without locations: it trained the network too."""
    obs = table_of_cells(antibodies=64)
    named = {side: list(obs.loc[obs["split"] == side, "gene"].unique()) for side in ("train", "test")}
    half = len(named["test"]) // 2
    partner = dict(zip(named["test"][:half], named["train"], strict=False))
    shared = obs.assign(gene=obs["gene"].replace(partner))
    silent = shared["gene"].isin(named["train"][: half // 2]) & (shared["split"] == "train")
    unlabelled = shared.assign(locations=shared["locations"].where(~silent))
    vectors = one_hot(obs) + np.random.default_rng(0).normal(size=(len(obs), len(PLACES)))
    for table in (shared, unlabelled):
        written = run(localization.run, tmp_path, table, vectors, split_by="paper")[1]
        found = metrics_of(written)["unseen_gene_macro_ap"]
        assert found["n"] == half
        # By the classifiers of the headline: what they say of these very cells.
        said = pd.read_parquet(tmp_path / "m.parquet")
        classes = written["settings"]["unseen_gene_classes"]
        of_unseen = said["unit"].isin(table.loc[~table["gene"].isin(named["train"]), "antibody"])
        truth, probability = (
            said.loc[of_unseen, [f"{part}{name}" for name in classes]] for part in (TRUTH, PROBABILITY)
        )
        once = np.ones((1, int(of_unseen.sum())))
        assert found["value"] == pytest.approx(macro_ap(truth.to_numpy(bool), probability.to_numpy(float), once)[0])


def test_weights_that_were_trained_elsewhere_need_the_genes_of_their_whole_list(tmp_path):
    obs = table_of_cells(antibodies=64)
    test = obs[obs["split"] == "test"]
    # An antibody that the dataset lacks was trained on; its gene is tested by another one.
    trained = tmp_path / "train_antibodies.txt"
    trained.write_text("\n".join([*obs.loc[obs["split"] == "train", "antibody"].unique(), "HPA99999"]))
    asked = {"split_by": "paper", "training_lists": [trained]}
    written = run(localization.run, tmp_path, obs, one_hot(obs), **asked)[1]
    assert "unseen_gene_macro_ap" not in metrics_of(written)
    assert "1 of those listed" in written["details"]["scores_not_given"]["unseen_gene_macro_ap"]
    release = pd.DataFrame({"antibody": ["HPA99999"], "gene": [f"{test['gene'].iloc[0]};OTHER"]})
    release.to_parquet(tmp_path / "release.parquet")
    written = run(localization.run, tmp_path, obs, one_hot(obs), **asked, release=tmp_path / "release.parquet")[1]
    assert metrics_of(written)["unseen_gene_macro_ap"]["n"] == test["antibody"].nunique() - 1


def test_means_of_groups_need_no_copy_of_all_vectors(monkeypatch):
    monkeypatch.setattr(frozen, "ROWS_AT_ONCE", 1000)
    rng = np.random.default_rng(0)
    vectors, codes = rng.normal(size=(40_000, 64)).astype(np.float32), rng.integers(-1, 7, 40_000)
    tracemalloc.start()
    found = frozen.group_means(vectors, codes, 7)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < vectors.nbytes / 4
    # Float sums of single precision would be off by more.
    wanted = [vectors[codes == code].astype(float).mean(axis=0) for code in range(7)]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)


def test_a_group_is_had_if_one_of_its_classes_is():
    classes = ["Nuclear speckles", "Nucleoplasm", "Mitochondria"]
    truth, said = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], bool), np.array([[0.9, 0.2, 0], [0.1, 0.8, 0], [0, 0, 1]])
    (of_groups,) = localization.grouped(classes, truth, said).values()
    assert of_groups[0].tolist() == [[False, True], [False, True], [True, False]]
    assert of_groups[1].tolist() == [[0, 0.9], [0, 0.8], [1, 0]]


def test_cells_without_locations_are_no_negative_ones(tmp_path):
    obs = table_of_cells()
    silent = obs.assign(locations=obs["locations"].where(obs["locations"] != "Cytosol"))
    settings = run(localization.run, tmp_path, silent, one_hot(obs))[1]["settings"]
    assert "Negative: cells without locations are left out" in settings["not_among_the_classes"]
    named = obs.assign(locations=obs["locations"].str.replace("Cytosol", "Negative"))
    settings = run(localization.run, tmp_path, named, one_hot(obs))[1]["settings"]
    assert "Negative" in settings["classes"]
    assert "not_among_the_classes" not in settings


def test_thirds_of_the_classes_by_frequency():
    sets = localization.class_sets(list("abcdef"), [9, 1, 5, 2, 7, 3])
    assert {name: columns for name, columns in sets.items() if name != "_19"} == {
        "_rare": [1, 3], "_medium": [2, 5], "_common": [0, 4],
    }  # fmt: skip
    assert localization.class_sets(["a", "b"], [1, 2]) == {}


def test_classifiers_trained_on_another_dataset(tmp_path):
    trained, other = table_of_cells(antibodies=64), table_of_cells(antibodies=48)
    other.index = "other " + other.index
    other["antibody"], other["gene"] = "X" + other["antibody"], "X" + other["gene"]
    first = other["antibody"].iloc[0]
    other["antibody"] = other["antibody"].replace(first, trained.loc[trained["split"] == "train", "antibody"].iloc[0])
    cells = write_cells(tmp_path / "trained.h5ad", trained, one_hot(trained) + 0.1 * noise_like(trained, 4))
    result, _, predictions = run(
        localization.run,
        tmp_path,
        other.assign(split=None),
        one_hot(other) + 0.1 * noise_like(other, 4),
        train_cells=cells,
    )
    assert result.metrics[0].value > 0.95
    assert result.settings["classifier_trained_on"] == "another dataset"
    left_out = result.details["cells_left_out"]["of_training_antibodies_or_genes"]
    assert left_out == 8
    assert len(predictions) == len(other) - left_out
    # A cell of two genes has both.
    gene = other["gene"].iloc[-1]
    of_two = other.assign(split=None, gene=other["gene"].replace(gene, f"{gene};{trained['gene'].iloc[0]}"))
    again = run(localization.run, tmp_path, of_two, one_hot(other), train_cells=cells)[0]
    assert again.details["cells_left_out"]["of_training_antibodies_or_genes"] == 16
    with pytest.raises(SubcellError, match="channels differ"):
        run(localization.run, tmp_path, other, np.ones((len(other), 3)), train_cells=cells)


def test_labels_of_single_cells_replace_those_of_fields(tmp_path):
    obs = table_of_cells(antibodies=64)
    table = obs[["field_id", "locations"]].assign(label=[name.split(":")[1] for name in obs.index])
    # As a table of another hand may have them.
    table["locations"] = table["locations"].str.replace(";", "|").str.lower()
    table.iloc[0, 1], table.iloc[1, 1] = "Discarded", "Unsure|Cytosol"
    table.iloc[2:].to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "seen.txt").write_text("HPA00062\n")
    table.to_csv(tmp_path / "labels.csv", index=False)
    result, _, _ = run(
        localization.run, tmp_path, obs.assign(locations="Cytosol"), one_hot(obs) + 0.1 * noise_like(obs, 4),
        cell_labels=tmp_path / "labels.csv", seen_antibodies=[tmp_path / "seen.txt"],
    )  # fmt: skip
    assert result.metrics[0].value > 0.95
    left_out = result.details["cells_left_out"]
    assert (left_out["discarded_or_unsure"], left_out["seen_antibodies"], left_out["not_in_the_table"]) == (2, 8, 0)
    pd.concat([table, table.iloc[:1]]).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(SubcellError, match="occurs twice"):
        run(localization.run, tmp_path, obs, one_hot(obs), cell_labels=tmp_path / "labels.csv")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_listed_antibodies_are_left_out_whatever_else_is_asked(tmp_path, elsewhere):
    """Released weights know them; the first name follows a byte order mark."""
    obs = table_of_cells(antibodies=64)
    vectors = one_hot(obs) + 0.1 * noise_like(obs, 4)
    tested = sorted(obs.loc[obs["split"] == "test", "antibody"].unique())
    (tmp_path / "seen.txt").write_text(f"\ufeff{tested[0]}\n{tested[1]}\n", encoding="utf-8")
    asked = {"seen_antibodies": [tmp_path / "seen.txt"]}
    if elsewhere:
        learned = obs[obs["split"] != "test"]
        asked["train_cells"] = write_cells(tmp_path / "h.h5ad", learned, vectors[(obs["split"] != "test").to_numpy()])
    result, _, predictions = run(localization.run, tmp_path, obs, vectors, **asked)
    assert sorted(predictions["antibody"].unique()) == tested[2:]
    assert result.details["cells_left_out"]["seen_antibodies"] == 16


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"antibody": None}, "needs antibody, by which"),
        (
            {"antibody": "Anti-" + table_of_cells()["antibody"]},
            "none of the 1 .*first there: HPA00001, first here: Anti-HPA",
        ),
    ],
)
def test_lists_that_can_leave_out_nobody_are_not_passed_over(tmp_path, change, reason):
    (tmp_path / "seen.txt").write_text("HPA00001\n")
    obs = table_of_cells()
    asked = {"seen_antibodies": [tmp_path / "seen.txt"]}
    assert run(localization.run, tmp_path, obs, one_hot(obs), **asked)[1]["status"] == "ok"
    written = run(localization.run, tmp_path, obs.assign(**change), one_hot(obs), **asked)[1]
    assert re.search(reason, written["reason"])


def test_classifiers_may_learn_from_antibodies_that_a_network_has_seen(tmp_path):
    obs = table_of_cells(antibodies=64)
    of_test = sorted(obs.loc[obs["split"] == "test", "antibody"].unique())
    seen = [*obs.loc[obs["split"] != "test", "antibody"].unique(), of_test[0]]
    (tmp_path / "seen.txt").write_text("\n".join(seen))
    result, _, predictions = run(localization.run, tmp_path, obs, one_hot(obs), seen_antibodies=[tmp_path / "seen.txt"])
    assert result.details["cells"]["train"] == (obs["split"] == "train").sum()
    assert sorted(predictions["antibody"].unique()) == of_test[1:]


def test_what_a_network_has_seen_is_scored_by_no_classifier_from_elsewhere(tmp_path):
    """Networks learned from this dataset, too: its test part is left; and from a third, which shares a gene with that."""
    trained, other = table_of_cells(antibodies=64), table_of_cells(antibodies=64)
    other.index = "other " + other.index
    other["antibody"], other["gene"] = "X" + other["antibody"], "X" + other["gene"]
    cells = write_cells(tmp_path / "trained.h5ad", trained, one_hot(trained) + 0.1 * noise_like(trained, 4))
    tested = sorted(other.loc[other["split"] == "test", "gene"].unique())
    third = pd.DataFrame({"field_id": ["z"], "antibody": ["Z"], "gene": [f"{tested[0]};Z"], "split": ["valid"]})
    paths = []
    for name, fields in (("other", other), ("third", third)):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "0000.parquet")
        write_fields(fields[["field_id", "antibody", "gene", "split"]].drop_duplicates(), paths[-1])
    result, _, predictions = run(
        localization.run, tmp_path, other, one_hot(other), train_cells=cells, network_fields=paths
    )
    assert sorted(predictions["gene"].unique()) == tested[1:]
    assert result.details["cells_left_out"]["of_training_antibodies_or_genes"] == len(other) - len(predictions)


def test_labels_in_released_order_then_others():
    table = label_table(["Vesicles;Zebra", "Cytosol", "Apple; Negative"])
    assert list(table.columns) == ["Cytosol", "Vesicles", "Negative", "Apple", "Zebra"]
    np.testing.assert_array_equal(table["Zebra"], [True, False, False])


def test_released_classes():
    rows = released_classes()
    assert [int(row["index"]) for row in rows] == list(range(31))
    names = [row["location"] for row in rows]
    assert names[:-1] == sorted(names[:-1], key=str)
    assert names[-1] == "Negative"
    assert sum(row["kaggle_19"] == "1" for row in rows) == 19


def test_features_are_scaled_by_training_cells_only():
    features = np.array([[0.0, 5, 1], [2, 5, 3], [100, 6, 2]])
    scaled = mlp.standardise(features, np.array([True, True, False]))
    np.testing.assert_allclose(scaled[:, 0], [-1, 1, 99])
    np.testing.assert_allclose(scaled[:, 1], 0)
