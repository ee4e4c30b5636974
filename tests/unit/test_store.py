"""Crop files: what is written is what is read, by this library and by AnnData."""

import multiprocessing
import os
import pickle
import subprocess
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subcell.channels import CHANNELS
from subcell.crops import store as store_module
from subcell.crops.store import PLANES, CropStore, create_crops, write_h5sc
from subcell.errors import ImageError, ShapeError


def cells(number, *, start=0, gene="ACTB"):
    ids = [f"field:{start + i}" for i in range(number)]
    return pd.DataFrame(
        {
            "field_id": ["field"] * number,
            "gene": [gene] * number,
            "compound": [None] * number,
            "label": np.arange(start, start + number, dtype=np.int64),
            "nucleus_area_um2": np.linspace(80.0, 120.0, number),
            "touches_border": np.arange(number) % 2 == 0,
        },
        index=pd.Index(ids, name="cell_id"),
    )


def pictures(number, *, start=0, pixels=8, dtype=np.uint8):
    """Image i is full of the number i, so that a mix-up shows."""
    values = np.arange(start, start + number, dtype=dtype)
    return np.broadcast_to(values[:, None, None, None], (number, len(PLANES), pixels, pixels)).copy()


@pytest.fixture
def shards(tmp_path):
    """Three files of 3, 0 and 4 cells."""
    paths = [tmp_path / f"{i}.h5sc" for i in range(3)]
    for path, start, number in zip(paths, (0, 3, 3), (3, 0, 4), strict=True):
        write_h5sc(path, cells(number, start=start), pictures(number, start=start), field_um=4.0)
    return paths


def test_anndata_reads_what_was_written(shards):
    data = anndata.read_h5ad(shards[0])
    assert data.obs_names.tolist() == ["0", "1", "2"]
    assert data.obs["cell_id"].tolist() == ["field:0", "field:1", "field:2"]
    assert data.obs["gene"].tolist() == ["ACTB"] * 3
    assert data.obs["compound"].isna().all()
    assert data.var["channels"].tolist() == ["nucleus_mask", "cell_mask", *CHANNELS]
    assert data.obsm["single_cell_images"].dtype == np.uint8
    np.testing.assert_array_equal(data.obsm["single_cell_images"], pictures(3))
    described = data.uns["single_cell_images"]
    assert (described["n_cells"], described["image_size"], described["um_per_px"]) == (3, 8, 0.5)
    assert list(described["channel_mapping"]) == ["mask"] * 2 + ["image_channel"] * 4


def test_layout_is_scportraits_with_a_cell_a_chunk(shards):
    with h5py.File(shards[2]) as file:
        images = file["obsm/single_cell_images"]
        assert images.chunks == (1, 6, 8, 8)
        assert images.compression == "lzf"
        assert images.attrs["n_masks"] == 2
        assert file["obs/scportrait_cell_id"][:].tolist() == [0, 1, 2, 3]


SCPORTRAIT = """
import sys
import matplotlib
matplotlib.use("Agg")
import numpy as np
import scportrait.pl as pl
from scportrait.io import read_h5sc
from scportrait.tools.h5sc import get_image_index, get_image_with_cellid

cells = read_h5sc(sys.argv[1])
assert get_image_index(cells, 2) == 2 and get_image_index(cells, [3, 0]) == [3, 0]
assert (get_image_with_cellid(cells, 2) == 5).all() and get_image_with_cellid(cells, 2).shape == (6, 8, 8)
assert get_image_with_cellid(cells, [3, 1], 4)[:, 0, 0].tolist() == [6, 4]
some = cells[cells.obs["cell_id"].isin(["field:4", "field:6"])]
ids = some.obs["scportrait_cell_id"].tolist()
assert get_image_with_cellid(cells, ids)[:, 0, 0, 0].tolist() == [4, 6]


def drawn(figure):
    return [axes.images[0].get_array().data[0, 0] for axes in figure.axes[0].child_axes]


show = {"return_fig": True, "show_fig": False}
assert drawn(pl.cell_grid(cells, select_channel="protein", cell_ids=[1, 3], **show)) == [4, 6]
assert drawn(pl.cell_grid_single_channel(cells, "er", cell_ids=[3, 0], mask_id=1, vmax=255, **show)) == [6, 3]
two = ["microtubules", "protein"]
assert drawn(pl.cell_grid_multi_channel(cells, cell_ids=[1, 2], select_channels=two, **show)) == [4, 4, 5, 5]
assert len(drawn(pl.cell_grid(cells, n_cells=2, **show))) == 12
print("all right")
"""


def test_scportrait_finds_and_draws_the_right_cells(shards):
    """With its own tools; it has no place among our packages, so that it runs in an environment of its own."""
    there = Path(__file__).parents[2] / ".cache" / "benchmarks" / "scportrait" / "bin" / "python"
    python = os.environ.get("SCPORTRAIT_PYTHON", str(there))
    if not Path(python).is_file():
        pytest.skip(
            "no environment with scPortrait 1.8: `make speed-crops` makes one, or SCPORTRAIT_PYTHON names its python"
        )
    done = subprocess.run([python, "-c", SCPORTRAIT, shards[2]], capture_output=True, text=True, check=False)
    assert done.stdout == "all right\n", done.stderr


def test_file_without_cells_is_valid(shards):
    data = anndata.read_h5ad(shards[1])
    assert data.shape == (0, 6)
    assert data.obsm["single_cell_images"].shape == (0, 6, 8, 8)
    store = CropStore(shards[1])
    assert len(store) == 0
    assert list(store.obs.columns) == list(cells(0).columns)
    assert store.read([]).shape == (0, 6, 8, 8)


def test_store_joins_shards(shards):
    store = CropStore(shards)
    assert len(store) == 7
    assert store.obs.index.tolist() == [f"field:{i}" for i in range(7)]
    assert store.obs["compound"].tolist() == [None] * 7
    assert store.obs["label"].dtype == np.int64
    assert (store.pixels, store.field_um, store.um_per_px, store.channels) == (8, 4.0, 0.5, CHANNELS)


@pytest.fixture(scope="module")
def two_shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    paths = [folder / "a.h5sc", folder / "b.h5sc"]
    write_h5sc(paths[0], cells(3), pictures(3), field_um=4.0)
    write_h5sc(paths[1], cells(4, start=3), pictures(4, start=3), field_um=4.0)
    return paths


@settings(max_examples=25, deadline=None)
@given(indices=st.lists(st.integers(0, 6), max_size=20))
def test_read_keeps_the_order_asked_for(two_shards, indices):
    assert CropStore(two_shards).read(indices)[:, 0, 0, 0].tolist() == indices


@pytest.mark.parametrize("index", [-1, 7])
def test_read_refuses_cells_that_do_not_exist(shards, index):
    with pytest.raises(IndexError, match="0 to 6"):
        CropStore(shards).read([index])


def _first_pixels(store, indices):
    return store.read(indices)[:, 0, 0, 0].tolist()


def test_worker_processes_can_read(shards):
    store = CropStore(shards)
    store.read([0])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_first_pixels, (store, [6, 0, 4])) == [6, 0, 4]
    assert pickle.loads(pickle.dumps(store)).read([5])[0, 0, 0, 0] == 5


def test_more_shards_than_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "OPEN_FILES", 2)
    paths = [tmp_path / f"{i}.h5sc" for i in range(5)]
    for i, path in enumerate(paths):
        write_h5sc(path, cells(1, start=i), pictures(1, start=i), field_um=4.0)
    store = CropStore(paths)
    everything = np.arange(len(paths))[::-1]
    assert _first_pixels(store, everything) == everything.tolist()
    assert len(store._handles) == 2


def test_blocks_of_other_depth_keep_their_values(tmp_path):
    path = tmp_path / "mixed.h5sc"
    with create_crops(path, field_um=4.0, pixels=8) as writer:
        writer.append(pictures(2), cells(2))
        writer.append(pictures(2, start=40_000, dtype=np.uint16), cells(2, start=2))
        writer.append(pictures(1, start=9), cells(1, start=4))
    images = CropStore(path).read(range(5))
    assert images.dtype == np.uint16
    assert images[:, 0, 0, 0].tolist() == [0, 1, 40_000, 40_001, 9]


def test_a_failed_write_leaves_nothing(tmp_path):
    path = tmp_path / "broken.h5sc"

    def stop_half_way():
        with create_crops(path, field_um=4.0, pixels=8) as writer:
            writer.append(pictures(2), cells(2))
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        stop_half_way()
    assert list(tmp_path.iterdir()) == []


def test_a_repeated_cell_leaves_nothing(tmp_path):
    with pytest.raises(ShapeError, match="'field:0' occurs twice"):
        write_h5sc(tmp_path / "twice.h5sc", pd.concat([cells(1), cells(1)]), pictures(2), field_um=4.0)
    assert list(tmp_path.iterdir()) == []


def test_wrong_shape_and_type_are_refused(tmp_path):
    with pytest.raises(ShapeError, match="3 cells need images of shape"):
        write_h5sc(tmp_path / "a.h5sc", cells(3), pictures(2), field_um=4.0)
    with pytest.raises(ImageError, match="float32"):
        write_h5sc(tmp_path / "a.h5sc", cells(2), pictures(2, dtype=np.float32), field_um=4.0)


def test_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_h5sc(tmp_path / name, cells(3), pictures(3), field_um=4.0)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_unusable_files_are_named(tmp_path, shards):
    with pytest.raises(ImageError, match=r"gone\.h5sc: no such crop file"):
        CropStore([shards[0], tmp_path / "gone.h5sc"])
    (tmp_path / "text.h5sc").write_text("no HDF5")
    with pytest.raises(ImageError, match=r"text\.h5sc: not a crop file"):
        CropStore(tmp_path / "text.h5sc")
    write_h5sc(tmp_path / "other.h5sc", cells(1), pictures(1), field_um=8.0)
    with pytest.raises(ImageError, match=r"other\.h5sc: crops of 8 px over 8.0 um"):
        CropStore([shards[0], tmp_path / "other.h5sc"])
