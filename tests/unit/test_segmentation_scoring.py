"""Scores of masks with known answers."""

import numpy as np
import pytest

from subcell.errors import ShapeError
from subcell.segmentation.scoring import aggregated_jaccard, boundary_f, pooled, score_masks


def squares(*places: tuple[int, int, int], ids=None) -> np.ndarray:
    labels = np.zeros((60, 60), np.int32)
    for number, (y, x, side) in enumerate(places, start=1):
        labels[y : y + side, x : x + side] = number if ids is None else ids[number - 1]
    return labels


def test_perfect_masks_score_one_whatever_their_ids():
    truth = squares((2, 2, 10), (30, 30, 12))
    scores = score_masks(truth, squares((2, 2, 10), (30, 30, 12), ids=(70, 3)))
    assert (scores["ap"] == 1).all()
    assert (scores["f1"] == 1).all()
    assert scores["tp"].shape == (1, 9)


def test_one_hit_one_miss_one_false_alarm():
    scores = score_masks(squares((0, 0, 10), (30, 30, 10)), squares((0, 0, 10), (45, 0, 10)))
    assert (scores["tp"][0, 0], scores["fp"][0, 0], scores["fn"][0, 0]) == (1, 1, 1)
    assert scores["ap"][0, 0] == pytest.approx(1 / 3)
    assert scores["f1"][0, 0] == pytest.approx(1 / 2)


def test_a_pair_counts_up_to_its_overlap():
    # 10 x 10 against the same square without 3 of its rows: intersection over union 0.7.
    truth, part = squares((0, 0, 10)), squares((0, 0, 10))
    part[7:10] = 0
    scores = score_masks(truth, part, thresholds=(0.5, 0.69, 0.71))
    assert scores["tp"].tolist() == [[1, 1, 0]]
    assert scores["fn"].tolist() == [[0, 0, 1]]


def test_two_halves_are_not_the_whole():
    halves = squares((0, 0, 10))
    halves[5:10, :10] = 2
    scores = score_masks(squares((0, 0, 10)), halves, thresholds=(0.51,))
    assert (scores["tp"][0, 0], scores["fp"][0, 0], scores["fn"][0, 0]) == (0, 2, 1)


def test_images_without_objects():
    empty, one = np.zeros((60, 60), np.int32), squares((0, 0, 10))
    scores = score_masks([empty, empty, one], [empty, one, empty])
    assert np.isnan(scores["ap"][0]).all()
    assert scores["fp"][1, 0] == 1
    assert scores["fn"][2, 0] == 1
    assert pooled(scores)["ap"][0] == 0


def test_pooling_sums_counts_before_dividing():
    one, none, many = squares((0, 0, 10)), np.zeros((60, 60), np.int32), squares((0, 0, 5), (20, 20, 5), (40, 40, 5))
    scores = pooled(score_masks([one, many], [none, many]))
    assert scores["ap"][0] == pytest.approx(3 / 4)


def test_other_sizes_are_refused():
    with pytest.raises(ShapeError, match="60, 60"):
        score_masks(np.zeros((60, 60), int), np.zeros((60, 50), int))
    with pytest.raises(ShapeError, match="2 true"):
        score_masks([np.zeros((6, 6), int)] * 2, [np.zeros((6, 6), int)])


def test_jaccard_and_boundary_of_known_masks():
    truth = np.zeros((40, 40), np.int32)
    truth[5:15, 5:15], truth[20:30, 20:30] = 1, 2
    swapped = np.where(truth == 1, 2, np.where(truth == 2, 1, 0))
    assert aggregated_jaccard(truth, swapped) == boundary_f(truth, swapped) == 1
    one_missing = np.where(truth == 1, 1, 0)
    assert aggregated_jaccard(truth, one_missing) == 0.5
    assert boundary_f(truth, one_missing) == pytest.approx(2 * 0.5 / 1.5)
    shifted = np.roll(truth, 2, axis=0)
    assert aggregated_jaccard(truth, shifted) == pytest.approx(80 / 120)
    assert boundary_f(truth, shifted) == 1
    assert boundary_f(truth, np.roll(truth, 6, axis=0), tolerance_px=1) < 0.5
    nothing = np.zeros_like(truth)
    assert aggregated_jaccard(truth, nothing) == boundary_f(truth, nothing) == 0
    assert np.isnan([aggregated_jaccard(nothing, nothing), boundary_f(nothing, nothing)]).all()
