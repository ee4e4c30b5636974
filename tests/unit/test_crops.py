"""Crops: what lands where, at which scale, and what memory it takes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from subcell.crops.cut import crop_cells, dilation_px, field_size_px
from subcell.errors import ImageError, ShapeError


def one_cell(shape, box, label=1):
    """Label image with one rectangular cell; `box` is y0, x0, y1, x1."""
    labels = np.zeros(shape, np.int32)
    labels[box[0] : box[2], box[1] : box[3]] = label
    return labels


def test_pixels_of_a_crop_are_those_of_the_field():
    image = np.arange(2 * 20 * 30, dtype=np.uint16).reshape(2, 20, 30)
    cells = one_cell((20, 30), (8, 10, 12, 16))
    nuclei = one_cell((20, 30), (9, 12, 11, 14))
    images, ids, clipped = crop_cells(image, nuclei, cells, field_px=8, out_px=8, dilate_px=1)
    assert images.dtype == np.uint16
    assert ids.tolist() == [1]
    np.testing.assert_array_equal(images[0, 2:], image[:, 6:14, 9:17])
    np.testing.assert_array_equal(images[0, 0], nuclei[6:14, 9:17])
    np.testing.assert_array_equal(images[0, 1], one_cell((20, 30), (7, 9, 13, 17))[6:14, 9:17])
    assert clipped.tolist() == [0.0]


def test_outside_the_field_is_zero():
    image = np.full((1, 10, 10), 7, np.uint8)
    cells = one_cell((10, 10), (0, 0, 2, 2))
    images, _, _ = crop_cells(image, cells, cells, field_px=8, out_px=8, dilate_px=1)
    expected = np.zeros((8, 8))
    expected[3:, 3:] = 7
    np.testing.assert_array_equal(images[0, 2], expected)
    np.testing.assert_array_equal(images[0, 1], one_cell((8, 8), (3, 3, 6, 6)))


def test_shrinking_averages_what_a_pixel_covers():
    image = np.zeros((1, 8, 8), np.uint8)
    image[0, ::2, ::2] = 200  # one pixel in four; sampling instead of averaging would give 0 or 200
    cells = one_cell((8, 8), (0, 0, 8, 8))
    images, _, _ = crop_cells(image, cells, cells, field_px=8, out_px=4, dilate_px=1)
    assert (images[0, 2] == 50).all()
    assert (images[0, :2] == 1).all()


def test_a_fine_pattern_leaves_no_stripes_at_a_broken_scale():
    stripes = np.tile(np.array([0, 240], np.uint16), 160)
    image = np.broadcast_to(stripes, (1, 320, 320)).copy()
    cells = one_cell((320, 320), (0, 0, 320, 320))
    crop = crop_cells(image, cells, cells, field_px=320, out_px=48, dilate_px=1)[0][0, 2]
    assert np.ptp(crop.astype(int)) < 0.16 * 240
    assert crop.mean() == pytest.approx(120, rel=0.01)


def test_enlarging_interpolates():
    image = np.zeros((1, 4, 4), np.uint8)
    image[0, :, 2:] = 100
    cells = one_cell((4, 4), (0, 0, 4, 4))
    row = crop_cells(image, cells, cells, field_px=4, out_px=8, dilate_px=1)[0][0, 2, 4]
    assert row.tolist() == [0, 0, 0, 25, 75, 100, 100, 100]


def test_clipped_fraction_is_the_share_outside():
    cells = one_cell((30, 30), (5, 5, 25, 10))
    _, _, clipped = crop_cells(np.zeros((1, 30, 30), np.uint8), cells, cells, field_px=10, out_px=10, dilate_px=1)
    assert clipped[0] == pytest.approx(0.5)


def test_neighbours_keep_their_own_masks():
    cells = np.zeros((12, 12), np.int32)
    cells[:, :6], cells[:, 6:] = 3, 9
    images, ids, _ = crop_cells(np.zeros((1, 12, 12), np.uint8), cells, cells, field_px=12, out_px=12, dilate_px=2)
    assert ids.tolist() == [3, 9]
    # Column 6 of the field lies at 6 + 3 in the crop around cell 3, whose centre is at column 3.
    assert images[0, 1].sum() == 12 * 8
    assert images[0, 1, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    assert images[0, 0].sum() == 12 * 6


def test_labels_choose_and_order_cells():
    cells = np.zeros((9, 9), np.int32)
    cells[1, 1], cells[4, 4], cells[7, 7] = 1, 2, 5
    image = cells[None].astype(np.uint8)
    images, ids, _ = crop_cells(image, cells, cells, field_px=3, out_px=3, dilate_px=1, labels=np.array([5, 1]))
    assert ids.tolist() == [5, 1]
    assert images[:, 2, 1, 1].tolist() == [5, 1]
    with pytest.raises(ShapeError, match="cell 3 is not in the label image"):
        crop_cells(image, cells, cells, field_px=3, out_px=3, labels=np.array([3]))


def test_no_cells_give_no_crops():
    empty = np.zeros((9, 9), np.int32)
    images, ids, clipped = crop_cells(np.zeros((4, 9, 9), np.uint8), empty, empty, field_px=3, out_px=5)
    assert (images.shape, len(ids), len(clipped)) == ((0, 6, 5, 5), 0, 0)


def test_arrays_that_do_not_fit_are_refused():
    labels = np.zeros((9, 9), np.int32)
    with pytest.raises(ShapeError, match=r"\(9, 8\)"):
        crop_cells(np.zeros((4, 9, 9), np.uint8), labels, labels[:, :8], field_px=3, out_px=5)
    with pytest.raises(ImageError, match="float64"):
        crop_cells(np.zeros((4, 9, 9)), labels, labels, field_px=3, out_px=5)


def test_scale_in_microns():
    assert field_size_px(51.2, 0.08) == 640
    assert field_size_px(51.2, 0.65) == 79
    assert [dilation_px(size) for size in (0.08, 0.12, 0.24, 0.65, 2.0)] == [3, 2, 1, 1, 1]


@st.composite
def disc_fields(draw):
    """A field with discs on a grid, some cut by its border; returns labels, radius and the scale asked for."""
    radius = draw(st.integers(8, 14))
    count_y, count_x = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    shift = draw(st.integers(-radius // 2, radius))
    step = 2 * radius + 4
    shape = (count_y * step + 5, count_x * step + 5)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for i in range(count_y * count_x):
        y, x = (i // count_x) * step + radius + 2 + shift, (i % count_x) * step + radius + 2
        labels[(yy - y) ** 2 + (xx - x) ** 2 <= radius**2] = i + 1
    field_px = draw(st.integers(2 * radius + 8, 4 * radius))
    return labels, field_px, draw(st.integers(field_px // 3, 2 * field_px))


@settings(max_examples=60, deadline=None)
@given(case=disc_fields(), seed=st.integers(0, 2**16))
def test_one_centred_crop_a_cell_that_keeps_its_area(case, seed):
    labels, field_px, out_px = case
    image = np.random.default_rng(seed).integers(0, 65_536, (2, *labels.shape), dtype=np.uint16)
    images, ids, clipped = crop_cells(image, labels, labels, field_px=field_px, out_px=out_px, dilate_px=1)
    assert ids.tolist() == sorted(set(labels.ravel()) - {0})
    assert images.shape == (len(ids), 4, out_px, out_px)
    assert (clipped == 0).all()
    assert images[:, :2].max() == 1
    assert (images[:, 0] <= images[:, 1]).all()
    scale = out_px / field_px
    for crop, label in zip(images, ids, strict=True):
        ys, xs = np.nonzero(labels == label)
        assume(len(ys) > 60)
        rim = 2 * (np.ptp(ys) + np.ptp(xs) + 2)
        assert crop[0].sum() / scale**2 == pytest.approx(len(ys), abs=0.5 * rim / min(scale, 1))
        for positions in np.nonzero(crop[0]):
            middle = (positions.min() + positions.max() + 1) / 2
            assert middle == pytest.approx(out_px / 2, abs=0.5 * scale + 1)


@settings(max_examples=20, deadline=None)
@given(value=st.integers(0, 65_535), factor=st.integers(1, 5), out_px=st.integers(4, 12))
def test_a_constant_field_stays_constant(value, factor, out_px):
    side = factor * out_px
    labels = one_cell((3 * side, 3 * side), (side, side, 2 * side, 2 * side))
    image = np.full((1, 3 * side, 3 * side), value, np.uint16)
    assert (crop_cells(image, labels, labels, field_px=side, out_px=out_px)[0][0, 2] == value).all()
