"""Damaged files are found by reading them to their end."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest

from subcell.crops.store import IMAGES, PLANES, write_h5sc
from subcell.damage import damaged


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"field_id": ["f"] * 8, "split": [None] * 8}, index=[f"c{i}" for i in range(8)])
    write_h5sc(tmp_path / "a.h5sc", obs, rng.integers(0, 255, (8, len(PLANES), 32, 32), dtype=np.uint8), field_um=51.2)
    pd.DataFrame({"x": np.arange(1000)}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "a.tsv").write_text("any\n")
    return tmp_path


def test_whole_files_and_files_that_nobody_knows_are_fine(files):
    assert damaged([*files.iterdir(), files / "nowhere.parquet", files]) == []


@pytest.mark.parametrize("name", ["a.h5sc", "a.parquet", "a.json"])
def test_a_file_that_was_cut_off_is_named(files, name):
    path = files / name
    path.write_bytes(path.read_bytes()[:-9])
    (line,) = damaged([files])
    assert line.startswith(f"{path}: damaged or cut off")


def test_one_changed_byte_of_a_crop_is_found(files):
    path = files / "a.h5sc"
    with h5py.File(path) as file:
        place = file[IMAGES].id.get_chunk_info(5).byte_offset + 40
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert len(damaged([path])) == 1
