"""Crop files are hashed, damage is found, and training reads every cell once."""

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import read_elem, write_elem

from subcell.config.check import resolve
from subcell.crops.cut import field_size_px
from subcell.crops.reader import shuffled_crops
from subcell.crops.store import IMAGES, CropStore, content_sha256, create_crops, write_h5sc
from subcell.errors import ConfigError, ImageError

CELLS, PIXELS = 23, 8


def write(path, *, first=0, cells=CELLS, dtype=np.uint8, change=0):
    images = np.arange(first, first + cells)[:, None, None, None] + np.zeros((1, 6, PIXELS, PIXELS))
    images[-1, 0, 0, 0] += change
    obs = pd.DataFrame(index=pd.Index([f"c{n}" for n in range(first, first + cells)], name="cell_id"))
    write_h5sc(path, obs, images.astype(dtype), field_um=8)
    return path


def stored_hash(path):
    import anndata

    return anndata.read_h5ad(path).uns["single_cell_images"]["content_sha256"]


def test_the_hash_is_that_of_the_content(tmp_path):
    one, same, other = write(tmp_path / "1.h5sc"), write(tmp_path / "2.h5sc"), write(tmp_path / "3.h5sc", change=1)
    assert stored_hash(one) == content_sha256(one) == content_sha256(same)
    assert content_sha256(other) == stored_hash(other) != content_sha256(one)


def test_a_file_that_became_wider_has_the_hash_of_what_it_holds(tmp_path):
    path = tmp_path / "wide.h5sc"
    with create_crops(path, field_um=8, pixels=PIXELS) as writer:
        for number, dtype in enumerate((np.uint8, np.uint16)):
            obs = pd.DataFrame(index=pd.Index([f"c{number}"], name="cell_id"))
            writer.append(np.full((1, 6, PIXELS, PIXELS), 200 + 100 * number, dtype), obs)
    assert stored_hash(path) == content_sha256(path)


def test_a_damaged_cell_is_named_and_the_others_can_be_read(tmp_path):
    path = write(tmp_path / "a.h5sc")
    with h5py.File(path) as file:
        offset = file[IMAGES].id.get_chunk_info(4).byte_offset
    with open(path, "r+b") as file:
        file.seek(offset + 3)
        file.write(b"\xff\x00\xff")
    store = CropStore(path)
    assert store.read([3])[0, 2, 0, 0] == 3
    with pytest.raises(ImageError, match=r"a\.h5sc: cell 4 is damaged"):
        store.read([4])
    with pytest.raises(ImageError, match="damaged"):
        content_sha256(path)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_cell_comes_once_in_an_order_that_can_be_resumed(tmp_path, workers):
    store = CropStore([write(tmp_path / "0.h5sc"), write(tmp_path / "1.h5sc", first=CELLS)])

    def epoch(**options):
        options = {"batch_size": 7, "seed": 3, "workers": workers} | options
        return [(rows.tolist(), images) for rows, images in shuffled_crops(store, **options)]

    batches = epoch()
    seen = [row for rows, _ in batches for row in rows]
    assert sorted(seen) == list(range(2 * CELLS))
    assert seen != sorted(seen)
    assert all((images[:, 2, 0, 0].numpy() == rows).all() for rows, images in batches)
    assert [rows for rows, _ in epoch(first=4)] == [rows for rows, _ in batches[4:]]
    assert [rows for rows, _ in epoch(epoch=1)] != [rows for rows, _ in batches]
    assert sorted(row for rows, _ in epoch(rows=[5, 5, 40]) for row in rows) == [5, 40]


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    (tmp_path / "results/demo/crops").mkdir(parents=True)
    for shard in range(2):
        names = [f"c{shard}{n}" for n in range(4)]
        obs = pd.DataFrame({"split": ["train", "test"] * 2, "gene": names}, index=pd.Index(names, name="cell_id"))
        images = np.full((4, 6, PIXELS, PIXELS), 51, np.uint8)
        write_h5sc(tmp_path / f"results/demo/crops/000{shard}.h5sc", obs, images, field_um=8)
    text = (Path(__file__).parents[2] / "docs/images.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example, names)
    assert set(names["genes"]) == {"c00", "c02", "c10", "c12"}
    assert names["masks"].shape == (4, 2, PIXELS, PIXELS)
    assert names["channels"].unique().tolist() == pytest.approx([0.2])


def crops_of(**settings):
    return resolve({"datasets": {"a": {"source": "simulate"}}, "crops": settings})["crops"]


def test_presets_are_subcells_scales():
    assert crops_of(preset="train") == {"field_um": 71.76, "pixels": 448, "border_cells": "keep"}
    assert field_size_px(71.76, 0.0800885, 448) == 896
    assert crops_of(preset="native", border_cells="drop")["pixels"] == 640
    assert field_size_px(51.26, 0.0800885, 640) == field_size_px(51.26, 0.08, 640) == 640
    with pytest.raises(ConfigError, match=r"preset: native. sets pixels already"):
        crops_of(preset="native", pixels=448)


def test_a_file_that_has_the_ids_as_its_index_is_read_alike(tmp_path):
    """As this workflow wrote them before, and as cells of other sources come."""
    path, earlier = write(tmp_path / "now.h5sc"), tmp_path / "earlier.h5sc"
    shutil.copy(path, earlier)
    with h5py.File(earlier, "r+") as file:
        obs = read_elem(file["obs"]).set_index("cell_id")
        del file["obs"]
        write_elem(file, "obs", obs)
        del file[IMAGES].attrs["content_sha256"]
    one, two = CropStore(path), CropStore(earlier)
    pd.testing.assert_frame_equal(one.obs, two.obs)
    assert np.array_equal(one.read([1, 0]), two.read([1, 0]))
    assert content_sha256(earlier) == content_sha256(path)
