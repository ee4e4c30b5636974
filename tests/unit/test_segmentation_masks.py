"""Pairing of nuclei and cells, change of scale, and the store of label images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from subcell.errors import ImageError, ShapeError
from subcell.segmentation.bodies import watershed_bodies
from subcell.segmentation.masks import create_masks, open_masks
from subcell.segmentation.pairing import keep_pairs, pair
from subcell.segmentation.scaling import normalise, resize_image, resize_labels


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A cell with a nucleus, a cell without, a nucleus without a cell; ids that do not agree."""
    nuclei, cells = np.zeros((120, 120), np.int32), np.zeros((120, 120), np.int32)
    cells[disc(nuclei.shape, 30, 30, 20)] = 4
    nuclei[disc(nuclei.shape, 30, 30, 8)] = 9
    cells[disc(nuclei.shape, 90, 30, 20)] = 2
    nuclei[disc(nuclei.shape, 60, 90, 8)] = 5
    return nuclei, cells


def test_every_cell_has_its_nucleus_and_every_nucleus_its_cell():
    nuclei, cells, _ = pair(*scene(), um_per_px=0.5, rim_um=2.0)
    assert set(np.unique(nuclei)) == set(np.unique(cells)) == {0, 1, 2}
    assert nuclei[30, 30] == cells[30, 30] == cells[30, 45]
    assert cells[90, 30] == 0
    # 2 um are 4 pixels: the rim reaches from radius 8 to radius 12.
    assert cells[60, 90 + 11] == nuclei[60, 90]
    assert cells[60, 90 + 14] == 0


def test_a_body_with_two_nuclei_is_shared_out_to_the_nearer_one():
    nuclei, cells = np.zeros((60, 100), np.int32), np.zeros((60, 100), np.int32)
    cells[10:50, 10:90] = 1
    nuclei[disc(nuclei.shape, 30, 30, 8)] = 1
    nuclei[disc(nuclei.shape, 30, 70, 8)] = 2
    nuclei, cells, _ = pair(nuclei, cells, um_per_px=0.5, rim_um=2.0)
    assert cells[30, 12] == cells[12, 45] == nuclei[30, 30]
    assert cells[30, 88] == cells[12, 55] == nuclei[30, 70]
    assert (cells > 0).sum() == 40 * 80


def test_small_objects_are_dropped_by_their_area():
    nuclei, cells = scene()
    # The nuclei have 197 pixels, 49 square microns.
    assert pair(nuclei, cells, um_per_px=0.5, rim_um=2.0, min_nucleus_um2=49)[0].max() == 2
    assert pair(nuclei, cells, um_per_px=0.5, rim_um=2.0, min_nucleus_um2=50)[0].max() == 0
    kept = pair(nuclei, cells, um_per_px=0.5, rim_um=2.0, min_cell_um2=200)[1]
    assert kept.max() == 1
    assert kept[30, 30] == 1


@settings(max_examples=60, deadline=None)
@given(arrays(np.int32, (12, 14), elements=st.integers(0, 4)), arrays(np.int32, (12, 14), elements=st.integers(0, 4)))
def test_pairing_any_labels_gives_ids_without_gaps_and_nuclei_inside(nuclei, cells):
    nuclei, cells, _ = pair(nuclei, cells, um_per_px=1.0, rim_um=2.0)
    count = nuclei.max()
    assert set(np.unique(nuclei)) - {0} == set(range(1, count + 1)) == set(np.unique(cells)) - {0}
    assert (cells[nuclei > 0] == nuclei[nuclei > 0]).all()


def test_keep_pairs_needs_the_id_in_both():
    nuclei, cells = np.array([[1, 0, 3, 0]]), np.array([[1, 2, 3, 3]])
    kept = keep_pairs(nuclei, cells)
    assert kept[0].tolist() == [[1, 0, 2, 0]]
    assert kept[1].tolist() == [[1, 0, 2, 2]]
    assert kept[2].tolist() == [1, 3]


def test_nuclei_side_by_side_in_one_body_are_one_cell_with_a_count():
    nuclei, cells = np.zeros((60, 160), np.int32), np.zeros((60, 160), np.int32)
    cells[10:50, 10:150] = 1
    # Edges 2 pixels apart, then 34.
    for number, x in enumerate((30, 48, 98), start=1):
        nuclei[disc(nuclei.shape, 30, x, 8)] = number
    paired = pair(nuclei, cells, um_per_px=0.5, rim_um=2.0, same_cell_um=2.0)
    assert paired.nuclei_in_cell.tolist() == [2, 1]
    assert paired.nuclei[30, 30] == paired.nuclei[30, 48] == paired.cells[30, 39] == 1
    assert paired.nuclei[30, 98] == paired.cells[30, 148] == 2
    # Side by side in two bodies they are neighbours.
    cells[:, 39:] *= 2
    assert pair(nuclei, cells, um_per_px=0.5, rim_um=2.0, same_cell_um=2.0).nuclei_in_cell.tolist() == [1, 1, 1]


def test_watershed_gives_bodies_that_end_where_their_own_stain_does():
    nuclei = np.zeros((100, 200), np.int32)
    stain = np.zeros((1, 100, 200), np.float32)
    # A bright cell and a dim one: no threshold for all would outline both.
    for number, (x, brightness) in enumerate(((50, 1.0), (150, 0.15)), start=1):
        stain[0][disc(nuclei.shape, 50, x, 30)] = brightness
        nuclei[disc(nuclei.shape, 50, x, 12)] = number
    bodies, foreground = watershed_bodies(nuclei, stain, um_per_px=0.64)
    for number, x in ((1, 50), (2, 150)):
        expected, found = disc(nuclei.shape, 50, x, 30), bodies == number
        assert (expected & found).sum() / (expected | found).sum() > 0.85
    assert (foreground == (bodies > 0)).all()


@pytest.mark.parametrize("factor", [4, 3.3, 1, 0.5])
def test_labels_keep_their_place_and_shape_at_another_scale(factor):
    small = np.zeros((70, 90), np.int32)
    small[disc(small.shape, 20, 25, 14)] = 7
    small[disc(small.shape, 50, 60, 16) & (small == 0)] = 3
    shape = (round(70 * factor), round(90 * factor))
    large = resize_labels(small, shape)
    step = 70 / shape[0]
    for number, y, x in ((7, 20, 25), (3, 50, 60)):
        radius = np.sqrt((small == number).sum() / np.pi) / step
        expected = disc(shape, (y + 0.5) / step - 0.5, (x + 0.5) / step - 0.5, radius)
        found = large == number
        assert (expected & found).sum() / (expected | found).sum() > 0.97


def test_touching_objects_stay_touching_and_reach_the_edge_of_the_field():
    small = np.zeros((10, 10), np.int32)
    small[:, :5], small[:, 5:] = 1, 2
    large = resize_labels(small, (83, 83))
    assert (large > 0).all()
    assert (large[:, :41] == 1).all()
    assert (large[:, 42:] == 2).all()


def test_images_are_averaged_when_they_shrink():
    image = np.arange(64, dtype=np.uint16).reshape(1, 8, 8)
    assert resize_image(image, (4, 4))[0, 0, 0] == pytest.approx((0 + 1 + 8 + 9) / 4)
    assert resize_image(image, (8, 8)).dtype == np.float32


def test_normalisation_ignores_offset_and_gain_and_leaves_constant_channels_dark():
    rng = np.random.default_rng(0)
    plane = rng.gamma(2.0, 20.0, (80, 80)).astype(np.float32)
    one, other, flat = normalise(np.stack([plane, 300 + 7 * plane, np.full_like(plane, 9)]))
    assert np.allclose(one, other, atol=1e-4)
    assert one.min() == 0
    assert 1 <= one.max() <= 1.3
    assert not flat.any()


def test_masks_come_back_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    fields = {
        f"field {number}é": (rng.integers(0, 70_000, (33, 47)), rng.integers(0, 9, (33, 47))) for number in range(3)
    }
    with create_masks(tmp_path / "a.zarr") as writer:
        for name, (nuclei, cells) in fields.items():
            writer.append(name, nuclei, cells, pixel_size_um=0.08)
    store = open_masks(tmp_path / "a.zarr")
    assert store.field_ids == tuple(fields)
    for name, (nuclei, cells) in fields.items():
        read = store.labels(name)
        assert (read[0] == nuclei).all()
        assert (read[1] == cells).all()
        assert read[0].dtype == np.int32
        assert store.pixel_size_um(name) == 0.08
    with pytest.raises(ImageError, match="field 9"):
        store.labels("field 9")


def test_an_interrupted_shard_leaves_nothing_behind(tmp_path):
    def write(path, *, fail):
        with create_masks(path) as writer:
            writer.append("a", np.ones((4, 4), int), np.ones((4, 4), int), pixel_size_um=1)
            if fail:
                raise KeyboardInterrupt

    write(tmp_path / "old.zarr", fail=False)
    for name in ("new.zarr", "old.zarr"):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / name, fail=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old.zarr"]
    assert open_masks(tmp_path / "old.zarr").field_ids == ("a",)


def test_a_shard_without_fields_can_be_opened(tmp_path):
    with create_masks(tmp_path / "none.zarr"):
        pass
    assert open_masks(tmp_path / "none.zarr").field_ids == ()


def test_what_is_no_store_or_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ImageError, match="nowhere"):
        open_masks(tmp_path / "nowhere.zarr")
    with create_masks(tmp_path / "a.zarr") as writer, pytest.raises(ShapeError, match="field a"):
        writer.append("a", np.ones((4, 4), int), np.ones((4, 5), int), pixel_size_um=1)
