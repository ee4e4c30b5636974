"""The parts that compare with what is published, on files of the published format."""

import anndata
import imagecodecs
import numpy as np
import pandas as pd
import pytest
import torch
from released_example import WIDTH, checkpoint, saved

from subcell.channels import CHANNELS
from subcell.crops.released import crop_name, fetch_released_crops
from subcell.embedding import check_released as module
from subcell.embedding.check_released import Preset, apply_preset, check_released
from subcell.errors import SubcellError
from subcell.model.network.inputs import mask_and_scale
from subcell.model.weights.released import load_released
from subcell.sources.download import Cache, Downloader

SIDE = 96


def publish(folder, name, seed, *, dtype=np.uint16):
    """Write a crop as published: red nucleus, green ER, blue microtubules, alpha protein; the mask as 0 and 255."""
    random = np.random.default_rng(seed)
    planes = {channel: random.integers(1, np.iinfo(dtype).max, (SIDE, SIDE), dtype) for channel in CHANNELS}
    rgba = np.stack([planes[name] for name in ("nucleus", "er", "microtubules", "protein")], axis=-1)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:80, 30:70] = 255
    path = folder / f"{name}_cell_image.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(rgba))
    (folder / f"{name}_cell_mask.png").write_bytes(imagecodecs.png_encode(mask))
    return planes, mask


def test_numbers_kept_as_fractions_lose_them():
    row = {"if_plate_id": 1107, "position": "B4", "sample": 2.0, "cell_id": "13.0"}
    assert crop_name(row) == "1107/1107_B4_2_13"


def test_the_middle_is_cut_and_small_crops_are_framed():
    crop = np.arange(6 * 8 * 8, dtype=np.uint16).reshape(6, 8, 8)
    np.testing.assert_array_equal(apply_preset(crop, Preset(4, 4)), crop[:, 2:6, 2:6])
    framed = apply_preset(crop, Preset(12, 12))
    np.testing.assert_array_equal(framed[:, 2:10, 2:10], crop)
    assert framed.sum() == crop.sum()
    crop[:2] %= 2
    small = apply_preset(crop, Preset(8, 4))
    assert set(np.unique(small[:2])) <= {0, 1}
    assert small[3, 0, 0] == pytest.approx(crop[3, :2, :2].mean(), abs=1)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Crops, weights and a released table that was made from them by one of several presets."""
    monkeypatch.setattr(
        module, "PRESETS", {"whole": Preset(96, 96), "cut": Preset(64, 64), "open": Preset(96, 96, masked=False)}
    )
    folder = tmp_path / "all_channels_MAE-CellS-ProtS-Pool"
    folder.mkdir()
    saved(checkpoint(4), folder / "encoder.pth")
    encoder, _ = load_released(folder / "encoder.pth")
    rows, vectors = [], []
    for number in range(5):
        row = {"if_plate_id": 7, "position": "A1", "sample": 1, "cell_id": f"{number + 1}.0"}
        planes, mask = publish(tmp_path / "crops", crop_name(row), number)
        images = torch.from_numpy(np.stack([planes[name] for name in CHANNELS]).astype(np.float32))[
            None, :, 16:80, 16:80
        ]
        masks = torch.from_numpy((mask > 0).astype(np.float32))[None, 16:80, 16:80]
        with torch.inference_mode():
            vectors.append(encoder(mask_and_scale(images, masks, eps=1e-8)).vector[0].numpy())
        rows.append(row)
    anndata.AnnData(np.stack(vectors), obs=pd.DataFrame(rows, index=list("abcde"))).write_h5ad(tmp_path / "table.h5ad")
    return tmp_path


def fetch(published, **more):
    options = {"crops": str(published / "crops"), "cells": 5} | more
    downloader = Downloader(Cache(published / "cache"), log=lambda line: None)
    fetch_released_crops(
        published / "table.h5ad", published / "some", downloader=downloader, log=lambda line: None, **options
    )


def test_the_preset_of_the_released_vectors_is_found(published):
    fetch(published, cells=3)
    first = np.load(published / "some" / "0.npy")
    assert first.dtype == np.uint16, "no bit is lost"
    assert len(pd.read_csv(published / "some" / "cells.tsv", sep="\t")) == 3
    weights = published / "all_channels_MAE-CellS-ProtS-Pool"
    check_released(published / "some", weights, published / "presets.tsv", log=lambda line: None)
    table = pd.read_csv(published / "presets.tsv", sep="\t").set_index("preset")
    assert table.index[0] == "cut"
    assert table["agrees"].to_dict() == {"cut": True, "whole": False, "open": False}
    assert table.loc["cut", "cosine_low"] > 0.99999

    np.save(published / "some" / "vectors.npy", np.random.default_rng(0).normal(size=(3, 2 * WIDTH)))
    with pytest.raises(SubcellError, match=r"no preset gives the released vectors.*cut: "):
        check_released(published / "some", weights, published / "other.tsv", log=lambda line: None)
    assert not (published / "other.tsv").exists()


def test_another_table_and_missing_crops_are_named(published):
    with pytest.raises(SubcellError, match=r"10 of 10 files .* such as .*nowhere/7/7_A1_1_"):
        fetch(published, crops=str(published / "nowhere"))
    anndata.AnnData(np.zeros((2, 3)), obs=pd.DataFrame({"a": [1, 2]}, index=["x", "y"])).write_h5ad(
        published / "table.h5ad"
    )
    with pytest.raises(SubcellError, match="obs lacks if_plate_id, position, sample, cell_id"):
        fetch(published)
