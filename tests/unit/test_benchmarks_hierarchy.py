"""Hierarchy and Mantel's test: planted groups are found, nothing is found in noise, p values are uniform."""

import numpy as np
import pytest
from benchmark_example import headline, noise, one_hot, run_task, share_that_holds_chance, table_of_proteins
from scipy.stats import kstest

from subcell.benchmarks.statistics.mantel import mantel
from subcell.benchmarks.tasks import hierarchy

TABLE = table_of_proteins(64, cells=2, lines=("U2OS",), two_antibodies=0)


def symmetric(n, seed):
    values = np.random.default_rng(seed).normal(size=(n, n))
    return values + values.T


@pytest.fixture
def few_orders(monkeypatch):
    """What is asked here is no p value."""
    monkeypatch.setattr("subcell.benchmarks.statistics.mantel.EXACT_UP_TO", 3)
    monkeypatch.setattr(hierarchy, "ORDERS", 9)


def test_planted_groups_are_found(tmp_path):
    vectors = hierarchy.perfect_features(TABLE) + 0.1 * noise(len(TABLE), hierarchy.perfect_features(TABLE).shape[1], 0)
    result = run_task(hierarchy, tmp_path, TABLE, vectors)
    found = headline(result)
    assert found["value"] > 0.6
    assert found["low"] > 0
    assert result["details"]["p_value"] < 0.01
    # The interval is over locations; how many proteins stand for them is a detail.
    assert (found["n"], found["unit"]) == (8, "location")
    assert result["details"]["units"] == TABLE.loc[TABLE["split"] == "test", "antibody"].nunique()


def test_a_protein_that_lies_elsewhere_in_another_field_stands_for_neither(tmp_path, few_orders):
    vectors, twice = noise(len(TABLE), 8, 0), (TABLE["antibody"] == "HPA00000").to_numpy()
    moved = TABLE.copy()
    moved.loc[moved.index[twice][0], "locations"] = "Cytosol"
    without = run_task(hierarchy, tmp_path, TABLE[~twice], vectors[~twice])
    assert headline(run_task(hierarchy, tmp_path, moved, vectors)) == headline(without)


def test_all_proteins_are_taken_where_the_held_out_ones_lie_in_unlike_places(tmp_path, few_orders):
    """Four held-out locations of four groups have no hierarchy, though they are as many as are needed."""
    unlike = ["Cytosol", "Mitochondria", "Nucleoli", "Plasma membrane"]
    test = (TABLE["split"] == "test").to_numpy()
    kept = TABLE[~test | TABLE["locations"].isin(unlike).to_numpy()]
    result = run_task(hierarchy, tmp_path, kept, noise(len(kept), 8, 0))
    assert result["status"] == "ok"
    assert "all proteins" in result["settings"]["cells"]
    assert len(result["settings"]["locations"]) > 4


def test_locations_without_likeness_are_at_chance(tmp_path, few_orders):
    def vectors(seed):
        return noise(len(TABLE), 24, seed)

    assert share_that_holds_chance(hierarchy, tmp_path, TABLE, vectors) >= 0.9


def test_locations_in_random_places_are_at_chance(tmp_path, few_orders):
    """Each location has a place of its own that says nothing of its group: the spread over proteins alone is small."""
    places = one_hot(TABLE["locations"])
    found = [
        headline(run_task(hierarchy, tmp_path, TABLE, places @ noise(8, 24, seed) + 0.5 * noise(len(TABLE), 24, seed)))[
            "value"
        ]
        for seed in range(20)
    ]
    assert abs(np.mean(found)) < 2.5 * np.std(found) / np.sqrt(20)


def test_the_annotated_hierarchy():
    names = ["Golgi apparatus", "Mitochondria", "Nuclear speckles", "Nucleoplasm"]
    fine, coarse = (hierarchy.groups_of(names, grouping) for grouping in (hierarchy.FINE, hierarchy.COARSE))
    table = hierarchy.hierarchy_of(names, fine, coarse)
    assert (np.diag(table) == 1).all()
    assert table[2, 3] == 1
    assert table[0, 1] == table[1, 2] == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"locations": None}, "needs locations"),
        ({"locations": "Cytosol"}, "needs 4 locations"),
        ({"antibody": None, "gene": None}, "needs antibody"),
    ],
)
def test_what_it_lacks(tmp_path, change, reason):
    result = run_task(hierarchy, tmp_path, TABLE.assign(**change), noise(len(TABLE), 2, 0))
    assert result["status"] == "not run"
    assert result["reason"].startswith(reason)


@pytest.mark.parametrize("n", [6, 9])
def test_mantels_p_values_are_uniform(n):
    found = [mantel(symmetric(n, seed), symmetric(n, seed + 1000), orders=199, seed=seed).p for seed in range(200)]
    assert kstest(found, "uniform").pvalue > 0.01


def test_few_things_are_tried_in_all_orders():
    one = symmetric(4, 0)
    found = mantel(one, one)
    assert (found.exact, found.orders, found.r) == (True, 24, pytest.approx(1))
    assert found.p == 1 / 24
    assert mantel(one, one, seed=5) == found


def test_r_and_p_are_those_of_scikit_bio():
    skbio = pytest.importorskip("skbio.stats.distance")
    one, other = np.abs(symmetric(10, 0)), np.abs(symmetric(10, 1)) + 0.7 * np.abs(symmetric(10, 0))
    for matrix in (one, other):
        np.fill_diagonal(matrix, 0)
    ours = mantel(one, other, orders=4999)
    r, p, n = skbio.mantel(
        skbio.DistanceMatrix(one), skbio.DistanceMatrix(other), permutations=4999, alternative="greater"
    )
    assert ours.r == pytest.approx(r)
    assert ours.n == n
    assert ours.p == pytest.approx(p, abs=0.02)


def test_a_partial_test_sees_nothing_behind_what_is_given():
    cause = symmetric(9, 0)
    one, other = cause + 0.5 * symmetric(9, 1), cause + 0.5 * symmetric(9, 2)
    assert mantel(one, other, orders=499).r > 0.5
    rest = mantel(one, other, given=cause, orders=499)
    above = np.triu_indices(9, 1)
    basis = np.column_stack([np.ones(36), cause[above]])
    residuals = [m[above] - basis @ np.linalg.lstsq(basis, m[above], rcond=None)[0] for m in (one, other)]
    assert rest.r == pytest.approx(np.corrcoef(*residuals)[0, 1])
    assert np.isnan(mantel(one, np.ones((9, 9)), orders=9).r)
