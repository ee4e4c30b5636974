"""Metrics agree with scikit-learn under any weights; ties, intervals and chance have known answers."""

import tracemalloc
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from subcell.benchmarks.statistics import metrics
from subcell.benchmarks.statistics.bootstrap import bootstrap_metric, difference, draw_units, interval


def example(seed, *, rows=40, classes=4, distinct=7):
    """Labels, scores with many ties (none where `distinct` is 0), and weights of which some are 0."""
    rng = np.random.default_rng(seed)
    truth = rng.random((rows, classes)) < 0.3
    truth[0], truth[1] = True, False
    scores = rng.integers(0, distinct, (rows, classes)) / distinct if distinct else rng.random((rows, classes))
    weights = rng.integers(0, 4, (3, rows))
    weights[:, :2] = 1
    return truth, scores, weights


def test_sets_of_weights_are_taken_some_at_a_time(monkeypatch):
    truth, scores, weights = example(0)
    weights = np.tile(weights, (5, 1))
    at_once = metrics.micro_ap(truth, scores, weights)
    tracemalloc.start()
    many = np.ones((50, 4000))
    metrics.micro_ap(np.tile(truth, (100, 5)), np.tile(scores, (100, 5)), many)
    _, of_all = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    monkeypatch.setattr(metrics, "NUMBERS_AT_ONCE", 2 * truth.size)
    metrics.micro_ap(np.tile(truth, (100, 5)), np.tile(scores, (100, 5)), many)
    _, of_some = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert of_some < of_all / 5
    np.testing.assert_allclose(metrics.micro_ap(truth, scores, weights), at_once, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_agreement_with_scikit_learn_where_no_scores_are_equal(seed):
    truth, scores, weights = example(seed, distinct=0)
    for number, weight in enumerate(weights):
        options = {"sample_weight": weight}
        ap = [sklearn_metrics.average_precision_score(truth[:, c], scores[:, c], **options) for c in range(4)]
        auc = [sklearn_metrics.roc_auc_score(truth[:, c], scores[:, c], **options) for c in range(4)]
        micro = sklearn_metrics.average_precision_score(truth, scores, average="micro", **options)
        np.testing.assert_allclose(metrics.class_ap(truth, scores, weights)[number], ap)
        np.testing.assert_allclose(metrics.class_auc(truth, scores, weights)[number], auc)
        assert metrics.macro_ap(truth, scores, weights)[number] == pytest.approx(np.mean(ap))
        assert metrics.macro_auc(truth, scores, weights)[number] == pytest.approx(np.mean(auc))
        assert metrics.micro_ap(truth, scores, weights)[number] == pytest.approx(micro)
        some = truth.any(axis=1)
        kept = {"sample_weight": weight[some]}
        coverage = sklearn_metrics.coverage_error(truth[some], scores[some], **kept)
        ranking = sklearn_metrics.label_ranking_average_precision_score(truth[some], scores[some], **kept)
        assert metrics.coverage_error(truth, scores, weights)[number] == pytest.approx(coverage)
        assert metrics.label_ranking_ap(truth, scores, weights)[number] == pytest.approx(ranking)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_weight_of_two_is_a_row_twice(seed):
    # One that is tied with another, that is: a row which stands alone has the precision at the end of all that is drawn of it.
    truth, scores, weights = example(seed, distinct=2)
    rows = np.repeat(np.arange(len(truth)), weights[0])
    for name, metric in metrics.METRICS.items():
        once = np.ones((1, len(rows)))
        assert metric(truth, scores, weights[:1])[0] == pytest.approx(metric(truth[rows], scores[rows], once)[0]), name


@pytest.mark.parametrize(
    "name", ["macro_ap", "micro_ap", "macro_auc", "coverage_error", "label_ranking_ap", "accuracy"]
)
def test_equal_scores_give_the_mean_over_their_orders(name):
    rng = np.random.default_rng(3)
    for _ in range(5):
        truth, scores = rng.random((4, 2)) < 0.5, rng.integers(0, 2, (4, 2)) / 2
        truth[0], truth[1] = [True, False], [False, True]
        if name == "accuracy":
            truth[2:] = [True, False]
        once = np.ones((1, 4))
        # All orders of all eight scores, so that those of a class, of a row and of both are among them.
        orders = np.array(list(permutations(range(8)))).reshape(-1, 4, 2) * 1e-3
        orders = orders[rng.permutation(len(orders))[:4000]]
        mean = np.mean([metrics.METRICS[name](truth, scores + order, once)[0] for order in orders])
        assert metrics.METRICS[name](truth, scores, once)[0] == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize("name", ["macro_ap", "micro_ap", "macro_auc", "coverage_error", "label_ranking_ap"])
def test_vectors_that_are_all_the_same_are_at_chance(name):
    truth, _, _ = example(5, rows=20)
    for rows in (truth, truth[::-1]):
        reached = metrics.METRICS[name](rows, np.zeros(rows.shape), np.ones((1, len(rows))))[0]
        assert reached == pytest.approx(metrics.chance_of(name, rows))


def test_a_class_without_positives_does_not_count():
    truth, scores = np.array([[1, 0], [0, 0], [1, 0]]), np.array([[0.9, 0.1], [0.2, 0.3], [0.8, 0.7]])
    assert metrics.macro_ap(truth, scores, np.ones((1, 3)))[0] == 1
    assert np.isnan(metrics.macro_ap(truth[:, 1:], scores[:, 1:], np.ones((1, 3)))[0])


def test_accuracy_by_hand():
    truth, scores = np.eye(3), np.array([[0.9, 0, 0], [0.5, 0.4, 0], [0, 0, 1]])
    np.testing.assert_allclose(metrics.accuracy(truth, scores, [[1, 1, 1], [1, 4, 0]]), [2 / 3, 1 / 5])


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_chance_is_what_random_scores_reach(name):
    rng = np.random.default_rng(1)
    truth = np.zeros((6000, 5), bool)
    # Several classes a row; for the accuracy one, as there.
    truth[np.arange(6000), rng.choice(5, 6000, p=[0.4, 0.3, 0.1, 0.1, 0.1])] = True
    if name != "accuracy":
        truth |= rng.random(truth.shape) < [0.05, 0.1, 0.3, 0.2, 0.1]
    scores = rng.random(truth.shape)
    if name == "accuracy":
        # The best guess without knowing anything: always the most frequent class.
        scores = np.tile([1.0, 0, 0, 0, 0], (6000, 1))
    reached = metrics.METRICS[name](truth, scores, np.ones((1, 6000)))[0]
    assert reached == pytest.approx(metrics.chance_of(name, truth), rel=0.03)


def test_resamples_draw_as_many_units_as_there_are():
    counts = draw_units(12, bootstraps=500, seed=0)
    assert counts.shape == (500, 12)
    assert (counts.sum(axis=1) == 12).all()
    np.testing.assert_array_equal(counts, draw_units(12, bootstraps=500, seed=0))
    assert counts.mean() == 1
    assert counts.var() == pytest.approx(11 / 12, rel=0.05)


def test_interval_is_the_spread_of_the_resamples_around_the_estimate():
    values = np.random.default_rng(0).normal(5, 2, 100_000)
    np.testing.assert_allclose(interval(values, 0.5), (0.5 - 3.92, 0.5 + 3.92), rtol=0.02)
    assert interval(values, 0.5, bounds=(0, 1)) == (0, 1)
    assert interval([3, 3, np.nan], 3) == (3, 3)
    assert all(np.isnan(interval([np.nan, 1], 0.5)))


def mean_score(truth, scores, weights):
    return np.asarray(weights) @ np.asarray(scores)[:, 0] / np.sum(weights, axis=1)


def test_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap_metric(mean_score, np.zeros((400, 1)), values[:, None], np.arange(400), bootstraps=2000, seed=0)
    error = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    np.testing.assert_allclose([found.low, found.high], [found.value - error, found.value + error], atol=0.15 * error)


def test_cells_of_a_protein_are_no_independent_evidence():
    """Copying each cell ten times must not make the interval narrower."""
    rng = np.random.default_rng(0)
    truth, scores = rng.random((60, 3)) < 0.4, rng.random((60, 3))
    units = np.repeat([f"HPA{i}" for i in range(20)], 3)
    once = bootstrap_metric(metrics.macro_auc, truth, scores, units, bootstraps=300, seed=1)
    many = [np.repeat(part, 10, axis=0) for part in (truth, scores, units)]
    again = bootstrap_metric(metrics.macro_auc, *many, bootstraps=300, seed=1)
    np.testing.assert_allclose(again.replicates, once.replicates, atol=1e-9)
    alone = bootstrap_metric(metrics.macro_auc, *many[:2], np.arange(600), bootstraps=300, seed=1)
    assert alone.high - alone.low < 0.6 * (once.high - once.low)


def test_blocks_of_resamples_do_not_change_the_interval(monkeypatch):
    truth, scores, _ = example(3)
    units = np.arange(40) // 2
    whole = bootstrap_metric(metrics.macro_ap, truth, scores, units, bootstraps=50, seed=1)
    monkeypatch.setattr("subcell.benchmarks.statistics.bootstrap.BLOCK_NUMBERS", 7 * 40)
    again = bootstrap_metric(metrics.macro_ap, truth, scores, units, bootstraps=50, seed=1)
    np.testing.assert_array_equal(again.replicates, whole.replicates)


def test_one_unit_has_no_interval():
    found = bootstrap_metric(metrics.macro_ap, [[1], [0]], [[0.9], [0.1]], ["a", "a"], bootstraps=100, seed=0)
    assert found.value == 1
    assert np.isnan([found.low, found.high]).all()


def test_a_model_does_not_differ_from_itself():
    truth, scores, _ = example(0)
    units = np.arange(40) // 4
    found = bootstrap_metric(metrics.macro_ap, truth, scores, units, bootstraps=100, seed=0)
    same = difference(found, found)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_pairing_removes_what_both_models_share():
    """Two models that are bad on the same proteins differ surely, though their own intervals overlap."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=50)
    one, other = difficulty + 0.3, difficulty + 0.02 * rng.normal(size=50)
    truth, units = np.zeros((50, 1)), np.arange(50)
    options = {"bootstraps": 1000, "seed": 0}
    own, others = (bootstrap_metric(mean_score, truth, some[:, None], units, **options) for some in (one, other))
    paired = difference(own, others)
    assert paired.value == pytest.approx(one.mean() - other.mean())
    assert 0.28 < paired.low < paired.value < paired.high < 0.32
    assert own.high - own.low > 10 * (paired.high - paired.low)


@pytest.mark.parametrize("positives", [1, 4, 20])
def test_chance_of_few_rows_is_exact(positives):
    truth = (np.arange(20) < positives)[:, None]
    rng = np.random.default_rng(0)
    values = [metrics.macro_ap(truth, rng.random((20, 1)), np.ones((1, 20)))[0] for _ in range(3000)]
    assert np.mean(values) == pytest.approx(metrics.chance_of("macro_ap", truth), rel=0.03)


@pytest.mark.parametrize("proteins", [15, 30])
def test_intervals_of_scores_without_meaning_hold_chance(proteins):
    """Also with few proteins a class, and with scores that cells of a protein share."""
    held, differ, runs = 0, 0, 60
    for run in range(runs):
        rng = np.random.default_rng(run)
        truth = np.repeat(np.eye(5, dtype=bool)[np.arange(proteins) % 5], 8, axis=0)
        units = np.repeat(np.arange(proteins), 8)
        scores = [
            0.4 * np.repeat(rng.normal(size=(proteins, 5)), 8, axis=0) + rng.normal(size=truth.shape) for _ in range(2)
        ]
        options = {"bootstraps": 100, "seed": run}
        one, other = (bootstrap_metric(metrics.macro_ap, truth, some, units, **options) for some in scores)
        held += one.low <= metrics.chance_of("macro_ap", truth) <= one.high
        paired = difference(one, other)
        differ += not paired.low <= 0 <= paired.high
    assert held / runs >= 0.9
    assert differ / runs <= 0.1
