"""Levels: nested as in the paper, and on a ladder; stability over seeds, wells and held-out antibodies."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from subcell.atlas.clusters.graph import neighbour_graph
from subcell.atlas.clusters.hierarchy import (
    PAPER_STEPS,
    Step,
    choose_plateaus,
    link_levels,
    paper_steps,
    partition,
    persistence,
)
from subcell.atlas.clusters.plan import find_levels, random_clusters, random_vectors, steps_of
from subcell.atlas.clusters.stability import Kept, Problem, consensus, measure
from subcell.atlas.units.filters import name_columns
from subcell.atlas.units.planted import plant
from subcell.atlas.units.units import summarise

LADDER = {"lowest": 0.005, "highest": 3.0, "rungs": 12, "most_levels": 4}


@pytest.fixture(scope="module")
def planted():
    """Units of 240 genes, what they can be made of again, and the truth."""
    made = plant(240, seed=4)
    units, summaries = summarise(made.cells.X, name_columns(made.cells.obs))
    return units, summaries, made.genes


def test_the_papers_steps():
    assert len(PAPER_STEPS) == 7
    assert paper_steps()[0] == Step(0.0, 124)


def test_nested_levels_are_clusters_of_clusters_and_small_ones_stay_whole(planted):
    units, _, genes = planted
    steps = paper_steps([(0.0, 125), (0.02, 60), (0.5, 20)])
    found = partition(sparse.csr_array((1, 1)), units.X, steps, 1, nested=True)
    assert [len(set(labels)) for labels in found[:2]] == [1, 4]
    assert adjusted_rand_score(genes["compartment"], found[1]) == 1
    levels = link_levels(found, steps)
    for level in levels[1:]:
        np.testing.assert_array_equal(level.containment, 1)
    # A level whose neighbours are as many as a parent has points leaves every parent as it is.
    whole = partition(sparse.csr_array((1, 1)), units.X, [*steps[:2], Step(5.0, 60)], 1, nested=True)
    np.testing.assert_array_equal(whole[1], whole[2])


def test_nested_graphs_that_are_kept_change_nothing(planted):
    units, _, _ = planted
    steps, kept = paper_steps([(0.0, 125), (0.3, 60)]), {}
    for seed in (1, 2):
        once = partition(sparse.csr_array((1, 1)), units.X, steps, seed, nested=True)
        np.testing.assert_array_equal(
            once, partition(sparse.csr_array((1, 1)), units.X, steps, seed, nested=True, graphs=kept)
        )
    assert kept


def found_levels(planted, method="resolutions", **options):
    units, summaries, _ = planted
    steps = steps_of(method, levels=[0.02, 0.5], neighbors=59, paper_levels=[(0.0, 125), (0.02, 60)], ladder=LADDER)
    graph = neighbour_graph(units.X, steps[0].neighbors, 0)
    held_out = (units.obs["split"] == "test").to_numpy()
    return find_levels(graph, units.X, summaries, steps, method=method, most_levels=4, held_out=held_out,
                       **({"seeds": 3, "bootstraps": 2} | options))  # fmt: skip


def test_a_ladder_finds_the_planted_levels(planted):
    found = found_levels(planted, "ladder")
    genes = planted[2]
    for column in ("compartment", "substructure"):
        assert max(adjusted_rand_score(genes[column], level.labels) for level in found.levels) == 1
    resolutions = [level.step.resolution for level in found.levels]
    assert resolutions == sorted(resolutions)
    assert len(found.curve) == LADDER["rungs"]
    assert [number for number in found.level_of if number] == list(range(1, len(found.levels) + 1))
    assert all((lasting > 0).all() for lasting in found.persistence)


def test_nested_levels_have_plain_clusters_beside_them_in_the_curve(planted):
    found = found_levels(planted, "paper", curve=6)
    levels = len(found.levels)
    assert found.level_of == [*range(1, levels + 1), *[None] * 6]
    np.testing.assert_array_equal(found.curve[:levels], found.labels)
    assert found.resolutions[levels] == 0.05
    clusters = found.curve[levels:].max(axis=1) + 1
    assert (np.diff(clusters) >= 0).all()
    assert clusters[-1] > found.levels[-1].clusters >= clusters[0]
    assert len(found_levels(planted, "paper", curve=0).curve) == levels


@pytest.mark.parametrize("method", ["ladder", "resolutions", "paper"])
def test_random_clusters_are_as_many_and_as_large_as_the_maps(planted, method):
    found = found_levels(planted, method, curve=3, seeds=1, bootstraps=0)
    assert found.random_curve.shape == found.curve.shape
    for own, random in zip(found.curve, found.random_curve, strict=True):
        np.testing.assert_array_equal(np.bincount(random), np.bincount(own))
    assert abs(adjusted_rand_score(found.labels[-1], found.random_labels[-1])) < 0.1


def test_random_clusters_are_of_neighbours():
    labels = np.repeat([0, 1, 2], [20, 15, 5])
    random = random_clusters(labels, 1)
    vectors = random_vectors(40, 1)
    distances = np.linalg.norm(vectors[0] - vectors, axis=1)
    assert set(np.argsort(distances)[:20]) == set(np.flatnonzero(random == 0))
    assert (np.bincount(random) == [20, 15, 5]).all()
    assert not (random == random_clusters(labels, 2)).all()
    np.testing.assert_array_equal(random_clusters(np.arange(4), 1), np.arange(4))


def test_plateaus_by_hand():
    one, two, four = np.zeros(8, int), np.repeat([0, 1], 4), np.repeat([0, 1, 2, 3], 2)
    crossed = np.tile([0, 1, 2, 3], 2)
    ladder = np.array([one, one, two, two, two, crossed, four, four])
    chosen, agreement = choose_plateaus(ladder, [ladder], most=5)
    assert [ladder[i].tolist() for i in chosen] == [two.tolist(), four.tolist()]
    assert agreement == [1.0] * 8
    assert [ladder[i].tolist() for i in choose_plateaus(ladder, [], most=1)[0]] == [two.tolist()]
    np.testing.assert_allclose(persistence(two, ladder), 3 / 8)
    assert choose_plateaus(np.array([one, one]), [], most=3)[0] == [0]


def test_levels_without_a_plateau_are_taken_where_seeds_agree():
    """Above two groups each rung splits in its own way: no plateau, but on one of the rungs all seeds find the same."""
    rng = np.random.default_rng(0)
    two, eight = np.arange(64) // 32, np.arange(64) // 8
    noise = [np.unique(rng.integers(n, size=64), return_inverse=True)[1] for n in (5, 6, 12, 16, 20, 20)]
    ladder = np.array([two, two, noise[0], noise[1], eight, noise[2], noise[3]])
    other = np.array([two, two, noise[3], noise[4], eight, noise[5], noise[0]])
    chosen, agreement = choose_plateaus(ladder, [other], most=5)
    assert [ladder[i].tolist() for i in chosen] == [two.tolist(), eight.tolist()]
    assert agreement[4] == 1 > max(agreement[2:4])
    assert len(choose_plateaus(ladder, [other], most=1)[0]) == 1


@pytest.mark.parametrize("method", ["resolutions", "paper"])
def test_results_do_not_depend_on_workers(planted, method):
    one, two = (found_levels(planted, method, workers=workers) for workers in (1, 2))
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.unit_stability, two.unit_stability)
    for kind in ("seeds", "bootstraps", "held_out"):
        for first, second in zip(getattr(one, kind), getattr(two, kind), strict=True):
            np.testing.assert_array_equal(first.clusters, second.clusters)
            assert first.ari_between == second.ari_between


def test_a_process_forgets_the_graphs_of_another_map(planted):
    units, summaries, _ = planted
    steps, kept = tuple(paper_steps([(0.0, 125), (0.02, 60)])), Kept()
    nothing, nobody = sparse.csr_array((240, 240)), np.zeros(240, bool)
    for points in (units.X, np.random.default_rng(0).normal(size=units.shape).astype(np.float32)):
        problem = Problem(nothing, points, summaries, False, steps, True, nobody, 1)
        np.testing.assert_array_equal(problem.run("seed", 0, kept), problem.run("seed", 0, Kept()))


def test_planted_clusters_are_stable_in_every_kind_of_run(planted):
    found = found_levels(planted)
    assert found.levels[0].clusters == 4
    for kind in (found.seeds, found.bootstraps):
        assert kind[0].clusters.min() > 0.9
        assert kind[0].ari_between > 0.9
    # A fifth of the points at so low a resolution: two compartments may stay together.
    assert found.held_out[0].ari_to_map > 0.6


def test_seeds_alone_overstate_stability_where_fields_differ():
    made = plant(120, distances=(0.6, 0.4, 0.2, 0.2), field_effect=3.0, fields=2, seed=5)
    units, summaries = summarise(made.cells.X, name_columns(made.cells.obs))
    graph = neighbour_graph(units.X, 15, 0)
    found = find_levels(graph, units.X, summaries, [Step(1.0, 15)], seeds=5, bootstraps=5)
    assert found.bootstraps[0].clusters.mean() < found.seeds[0].clusters.mean() - 0.2
    assert np.isnan(found.held_out[0].clusters).all(), "nothing was held out"


def one_field_each(genes, several=()):
    """Cells of genes in one field each, but for `several`; no clusters are planted, so that seeds differ."""
    made = plant(genes, distances=(0, 0, 0, 1.0), fields=3, second_antibodies=0, seed=5)
    obs = name_columns(made.cells.obs)
    keep = ((obs["site"] == "1") | obs["gene"].isin([f"SIMGENE{gene:05d}" for gene in several])).to_numpy()
    return summarise(made.cells.X, obs, keep=keep)


def test_a_map_that_no_resample_changes_says_nothing_of_resamples(caplog):
    units, summaries = one_field_each(120, range(40))
    held_out = (units.obs["split"] == "test").to_numpy()
    found = find_levels(neighbour_graph(units.X, 15, 0), units.X, summaries, [Step(1.0, 15)], seeds=2, bootstraps=2,
                        held_out=held_out)  # fmt: skip
    assert found.one_block == pytest.approx(80 / 120)
    for kind in (found.bootstraps, found.held_out):
        assert np.isnan(kind[0].clusters).all()
        assert np.isnan(kind[0].ari_to_map)
    assert "bootstrap runs are left out: 67 % of the units have one field or well" in caplog.text
    assert np.isfinite(found.seeds[0].clusters).all()


def test_resamples_have_seeds_of_their_own():
    """Units of one field are the same in every resample; the clusters are so no more than over seeds."""
    units, summaries = one_field_each(120)
    graph = neighbour_graph(units.X, 15, 0)
    problem = Problem(graph, units.X, summaries, False, (Step(1.0, 15),), False, np.zeros(120, bool), 7)
    runs = [problem.run("bootstrap", number, Kept()) for number in range(3)]
    np.testing.assert_array_equal(runs, [problem.run("seed", number, Kept()) for number in range(3)])
    assert (runs[0] != runs[1]).any()


def test_measures_by_hand():
    (level,) = link_levels(np.array([[0, 0, 0, 1, 1, 1]]), [Step(1.0, 5)])
    same, moved = np.array([[1, 1, 1, 0, 0, 0]]), np.array([[0, 0, 1, 1, 1, 1]])
    stable = measure(level, 0, [same, moved])
    np.testing.assert_allclose(stable.clusters, [(1 + 2 / 3) / 2, (1 + 3 / 4) / 2])
    labels, share = consensus(level, 0, [same, moved])
    assert labels.tolist() == level.labels.tolist()
    np.testing.assert_allclose(share, [1, 1, 0.5, 1, 1, 1])
    outvoted, _ = consensus(level, 0, [moved] * 3)
    assert outvoted.tolist() == [0, 0, 1, 1, 1, 1]
    partly = np.array([[0, 0, 0, -1, 1, 1]])
    alone = measure(level, 0, [partly]).clusters
    assert alone[0] == 1
    assert np.isnan(alone[1]), "two held-out members say nothing"
