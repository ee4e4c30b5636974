"""Damaged files are found by reading them to their end."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest

from subcell.crops.store import IMAGES, PLANES, write_h5sc
from subcell.damage import damaged
from subcell.segmentation.masks import create_masks, open_masks


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"field_id": ["f"] * 8, "split": [None] * 8}, index=[f"c{i}" for i in range(8)])
    write_h5sc(tmp_path / "a.h5sc", obs, rng.integers(0, 255, (8, len(PLANES), 32, 32), dtype=np.uint8), field_um=51.2)
    pd.DataFrame({"x": np.arange(1000)}).to_parquet(tmp_path / "a.parquet")
    labels = rng.integers(0, 9, (64, 64)).astype(np.int32)
    with create_masks(tmp_path / "a.zarr") as masks:
        for field_id in ("f", "g"):
            masks.append(field_id, labels, labels, pixel_size_um=0.32)
    (tmp_path / "a.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "a.tsv").write_text("x\ty\n1\tfew words\n")
    return tmp_path


def test_whole_files_and_files_that_nobody_knows_are_fine(files):
    assert damaged([*files.iterdir(), files / "nowhere.parquet", files]) == []


@pytest.mark.parametrize(
    "name", ["a.h5sc", "a.parquet", "a.json", "a.tsv", "a.zarr/zarr.json", "a.zarr/00000/labels/cells/0/c/0/0"]
)
def test_a_file_that_was_cut_off_is_named(files, name):
    path = files / name
    path.write_bytes(path.read_bytes()[:-9])
    (line,) = damaged([files])
    named = files / "a.zarr" if "zarr" in name else path
    assert line.startswith(f"{named}: damaged or cut off")


def test_one_changed_byte_of_a_crop_is_found(files):
    path = files / "a.h5sc"
    with h5py.File(path) as file:
        place = file[IMAGES].id.get_chunk_info(5).byte_offset + 40
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert len(damaged([path])) == 1


def test_no_changed_bit_of_a_label_image_passes_for_another_label(files):
    chunk = files / "a.zarr" / "00001" / "labels" / "cells" / "0" / "c" / "0" / "0"
    whole = chunk.read_bytes()
    for bit in np.random.default_rng(1).integers(0, 8 * len(whole), 60):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        chunk.write_bytes(data)
        (line,) = damaged([files])
        assert line.startswith(f"{files / 'a.zarr'}: damaged or cut off (00001/labels/cells/0: ")
        with pytest.raises(Exception, match="checksum"):
            open_masks(files / "a.zarr").labels("g")
    chunk.write_bytes(whole)
    assert damaged([files]) == []


@pytest.mark.parametrize("empty", [False, True])
def test_a_label_image_whose_file_was_deleted_is_named_and_never_read_as_background(tmp_path, empty):
    labels = np.zeros((64, 64), np.int32) if empty else np.ones((64, 64), np.int32)
    with create_masks(tmp_path / "a.zarr") as masks:
        masks.append("f", labels, labels, pixel_size_um=0.32)
    assert damaged([tmp_path]) == []
    (tmp_path / "a.zarr" / "00000" / "labels" / "cells" / "0" / "c" / "0" / "0").unlink()
    (line,) = damaged([tmp_path])
    assert line == f"{tmp_path / 'a.zarr'}: damaged or cut off (00000/labels/cells/0: 1 of its 1 chunks are gone)"
    with pytest.raises(FileNotFoundError, match="gone"):
        open_masks(tmp_path / "a.zarr").labels("f")
