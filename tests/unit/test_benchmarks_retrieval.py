"""Retrieval: an antibody that looks like itself is found, one that only looks like its location is not."""

import numpy as np
import pandas as pd
import pytest
from benchmark_example import headline, noise, one_hot, run_task, share_that_holds_chance, table_of_proteins
from scipy.stats import kstest

from subcell.benchmarks.tasks import retrieval
from subcell.benchmarks.tasks.retrieval import (
    average_precisions,
    cosines,
    expected_precision,
    permutation_p,
    profiles_of,
    questions,
)
from subcell.errors import SubcellError

TABLE = table_of_proteins(32, cells=2)


def test_an_antibody_that_looks_like_itself_is_found(tmp_path):
    vectors = one_hot(TABLE["gene"]) + 0.05 * noise(len(TABLE), TABLE["gene"].nunique(), 0)
    result = run_task(retrieval, tmp_path, TABLE, vectors)
    across, independent = result["metrics"]
    assert (across["metric"], independent["metric"]) == ("across_lines_map", "independent_antibody_map")
    assert across["value"] == independent["value"] == 1
    assert across["n"] == TABLE.loc[TABLE["split"] == "test", "gene"].nunique()
    assert result["details"]["across_lines_map"]["p_value"] == 0.001
    table = pd.read_parquet(tmp_path / "result.parquet")
    assert (table["candidates"] > 1).all()
    assert set(table["unit"]) <= set(TABLE.loc[TABLE["split"] == "test", "gene"])


@pytest.fixture
def few_orders(monkeypatch):
    """What is asked here is no p value."""
    monkeypatch.setattr(retrieval, "NULLS", 9)


def test_knowing_the_location_does_not_help(tmp_path, few_orders):
    def vectors(seed):
        return one_hot(TABLE["locations"]) + 0.2 * noise(len(TABLE), 8, seed)

    assert share_that_holds_chance(retrieval, tmp_path, TABLE, vectors) >= 0.9


def test_knowing_the_line_does_not_help(tmp_path, few_orders):
    def vectors(seed):
        return 3 * one_hot(TABLE["cell_line"]) + noise(len(TABLE), 3, seed)

    assert share_that_holds_chance(retrieval, tmp_path, TABLE, vectors) >= 0.9


def test_p_values_of_random_vectors_are_uniform():
    obs = table_of_proteins(24, cells=1)
    _, profiles = profiles_of(cells_of(obs, noise(len(obs), 4, 0)))
    asked, lines = questions(profiles, across_lines=True), profiles["cell_line"].to_numpy(str)
    found = [
        permutation_p(cosines(noise(len(profiles), 6, seed).astype(np.float32)), asked, lines, orders=199, seed=seed)
        for seed in range(200)
    ]
    assert kstest(found, "uniform").pvalue > 0.01


def test_precision_is_that_of_copairs():
    copairs = pytest.importorskip("copairs.compute")
    vectors = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)
    similarity = cosines(vectors)
    asked = retrieval.Queries(
        np.array([0, 1]), np.array([2, 3]), np.tile(np.arange(4, 10), (2, 1)), np.array(["a", "b"])
    )
    for row, ours in enumerate(average_precisions(similarity, asked)):
        candidates = np.r_[asked.answer[row], asked.distractors[row]]
        order = np.argsort(-similarity[asked.query[row], candidates])
        relevant = (candidates[order] == asked.answer[row]).astype(int)
        theirs, _ = copairs.ap_contiguous(relevant, np.array([len(relevant)]))
        assert ours == pytest.approx(theirs[0])


def test_chance_is_the_mean_over_all_ranks():
    np.testing.assert_allclose(expected_precision(np.array([1, 2, 4])), [1, 0.75, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4])


def test_profiles_that_are_all_the_same_are_at_chance():
    similarity = np.ones((4, 4))
    asked = retrieval.Queries(np.array([0]), np.array([1]), np.array([[2, 3]]), np.array(["a"]))
    assert average_precisions(similarity, asked)[0] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert average_precisions(similarity, asked) == pytest.approx(expected_precision(asked.candidates))
    similarity[0, 2] = 2
    assert average_precisions(similarity, asked)[0] == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_of_two_questions_that_mirror_each_other_one_is_asked():
    _, profiles = profiles_of(cells_of(TABLE, noise(len(TABLE), 2, 0)))
    asked = questions(profiles, across_lines=True)
    pairs = {frozenset(pair) for pair in zip(asked.query, asked.answer, strict=True)}
    assert len(pairs) == len(asked)
    assert (profiles["cell_line"].to_numpy()[asked.query] != profiles["cell_line"].to_numpy()[asked.answer]).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cell_line": None}, "needs cell_line"),
        ({"cell_line": "HeLa"}, "needs 3 held-out genes"),
        ({"gene": None}, "needs gene"),
    ],
)
def test_what_it_lacks(tmp_path, change, reason):
    result = run_task(retrieval, tmp_path, TABLE.assign(**change), np.ones((len(TABLE), 2)))
    assert result["status"] == "not run"
    assert result["reason"].startswith(reason)


def test_one_antibody_a_gene_leaves_the_second_question_out(tmp_path):
    obs = table_of_proteins(32, cells=2, two_antibodies=0)
    result = run_task(retrieval, tmp_path, obs, noise(len(obs), 3, 0))
    assert headline(result)["metric"] == "across_lines_map"
    assert "two antibodies" in result["details"]["scores_not_given"]["independent_antibody_map"]


def test_a_gene_on_both_sides_ends_it(tmp_path):
    leaky = TABLE.assign(gene=TABLE["gene"].replace({"G001": "G000"}))
    with pytest.raises(SubcellError, match=r"1 genes are both.*G000.*by gene"):
        run_task(retrieval, tmp_path, leaky, noise(len(TABLE), 3, 0))
    assert not (tmp_path / "result.json").exists()


def cells_of(obs, vectors):
    from subcell.benchmarks.probes.frozen import Cells

    return Cells(np.asarray(vectors, np.float32), obs)
