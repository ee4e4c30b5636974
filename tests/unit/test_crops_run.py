"""Cropping a shard: from images, masks and tables to one crop file."""

import anndata
import imagecodecs
import numpy as np
import pandas as pd
import pytest

from subcell.catalog.fields import as_fields
from subcell.channels import CHANNELS
from subcell.crops import run as run_module
from subcell.crops.run import crop_fields
from subcell.crops.store import CropStore
from subcell.errors import ImageError
from subcell.imaging.ledger import ledger_table, write_ledger
from subcell.segmentation.masks import create_masks

SIDE = 64
PIXEL_SIZE_UM = 0.5
BOXES = {1: (0, 20, 12, 32), 2: (20, 8, 40, 24), 3: (30, 40, 44, 60)}
"""y0, x0, y1, x1 of the cells in every field; cell 1 touches the border."""


class Shard:
    """A shard on disk with some fields, each channel constant and its own value."""

    def __init__(self, folder):
        self.images, self.masks, self.cells = folder / "images", folder / "masks.zarr", folder / "cells.parquet"
        self.out = folder / "crops.h5sc"
        self.images.mkdir()

    def write(self, field_ids, *, masked=None, missing=(), dtype=np.uint8, mask_side=SIDE, size_um=PIXEL_SIZE_UM):
        rows = []
        for number, field_id in enumerate(field_ids):
            for i, channel in enumerate(CHANNELS):
                if channel in missing:
                    continue
                name = f"{number}_{channel}.png"
                image = np.full((SIDE, SIDE), 10 * (i + 1) + number, dtype)
                (self.images / name).write_bytes(imagecodecs.png_encode(image))
                rows.append({"field_id": field_id, "channel": channel, "file": name, "plane": "", "status": "ok"})
        write_ledger(self.images, ledger_table(rows))
        cells = []
        with create_masks(self.masks) as masks:
            for field_id in field_ids if masked is None else masked:
                labels = np.zeros((mask_side, mask_side), np.int32)
                nuclei = np.zeros_like(labels)
                for label, (y0, x0, y1, x1) in BOXES.items():
                    labels[y0:y1, x0:x1] = label
                    nuclei[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4] = label
                    cells.append(
                        {
                            "field_id": field_id,
                            "label": label,
                            "cell_id": f"{field_id}:{label}",
                            "nucleus_area_um2": 10.0 * label,
                            "cell_area_um2": 100.0 * label,
                            "touches_border": label == 1,
                            **{f"mean_{channel}": float(label) for channel in CHANNELS},
                        }
                    )
                masks.append(field_id, nuclei, labels, pixel_size_um=size_um)
        columns = ["field_id", "label", "cell_id", "nucleus_area_um2", "cell_area_um2", "touches_border"]
        pd.DataFrame(cells, columns=columns + [f"mean_{c}" for c in CHANNELS]).to_parquet(self.cells)
        return as_fields(
            pd.DataFrame({"field_id": field_ids, "gene": [f"gene of {i}" for i in field_ids], "pixel_size_um": size_um})
        )

    def crop(self, fields, **options):
        settings = {"field_um": 16.0, "pixels": 16} | options
        return crop_fields(self.images, self.masks, self.cells, fields, self.out, **settings)


@pytest.fixture
def shard(tmp_path):
    return Shard(tmp_path)


def test_every_cell_of_every_field_is_there(shard):
    set_aside = shard.crop(shard.write(["b", "a"]))
    assert len(set_aside) == 0
    data = anndata.read_h5ad(shard.out)
    assert data.obs["cell_id"].tolist() == ["a:1", "a:2", "a:3", "b:1", "b:2", "b:3"]
    assert data.obs["gene"].tolist() == ["gene of a"] * 3 + ["gene of b"] * 3
    assert data.obs["touches_border"].tolist() == [True, False, False] * 2
    assert data.obs["nucleus_area_um2"].tolist() == [10, 20, 30] * 2
    assert data.obs["mean_er"].tolist() == [1, 2, 3] * 2
    assert (data.obs["cells_in_field"] == 3).all()
    assert (data.obs["channels"] == ";".join(CHANNELS)).all()
    assert (data.obs["image_width_px"] == SIDE).all()
    assert (data.obs["pixel_size_um"] == PIXEL_SIZE_UM).all()
    assert data.obs["compound"].isna().all()
    assert data.uns["single_cell_images"]["um_per_px"] == 1.0
    # Cell 3 of field b (the first one written) lies inside its field, so its channels are constant.
    np.testing.assert_array_equal(data.obsm["single_cell_images"][5, 2:, 8, 8], [10, 20, 30, 40])
    np.testing.assert_array_equal(data.obsm["single_cell_images"][2, 2:, 8, 8], [11, 21, 31, 41])


def test_scale_follows_the_pixel_size_of_the_field(shard):
    """The same pixels at twice the size fill twice the share of the crop."""
    shard.crop(shard.write(["a"]))
    small = CropStore(shard.out).read([1])[0, 0].sum()
    shard.crop(shard.write(["a"], size_um=2 * PIXEL_SIZE_UM))
    assert CropStore(shard.out).read([1])[0, 0].sum() == 4 * small


def test_border_cells_can_be_dropped(shard):
    shard.crop(shard.write(["a"]), border_cells="drop")
    obs = CropStore(shard.out).obs
    assert obs["label"].tolist() == [2, 3]
    assert (obs["cells_in_field"] == 3).all()


def test_fields_set_aside_before_are_skipped(shard):
    shard.crop(shard.write(["a", "b"], masked=["b"]))
    assert set(CropStore(shard.out).obs["field_id"]) == {"b"}


def test_shard_without_cells_has_the_columns_of_others(shard, tmp_path):
    shard.crop(shard.write(["a"]))
    columns = list(CropStore(shard.out).obs.columns)
    shard.crop(shard.write(["a"], masked=[]))
    store = CropStore(shard.out)
    assert len(store) == 0
    assert list(store.obs.columns) == columns
    assert anndata.read_h5ad(shard.out).n_obs == 0


def test_missing_channels_are_zero_and_named(shard):
    shard.crop(shard.write(["a"], missing=["er"]))
    store = CropStore(shard.out)
    assert store.obs["channels"].unique().tolist() == ["microtubules;nucleus;protein"]
    images = store.read(range(3))
    assert (images[:, 3] == 0).all()
    assert (images[:, 5].max(axis=(1, 2)) == 40).all()


def test_sixteen_bit_fields_keep_their_counts(shard):
    fields = shard.write(["a"], dtype=np.uint16)
    shard.crop(fields)
    assert CropStore(shard.out).read([2]).dtype == np.uint16


def test_field_that_does_not_fit_its_masks_is_set_aside(shard):
    set_aside = shard.crop(shard.write(["a"], mask_side=SIDE + 1))
    assert set_aside["field_id"].tolist() == ["a"]
    assert set_aside["stage"].tolist() == ["crop"]
    assert "cover different pixels" in set_aside["reason"][0]
    assert len(CropStore(shard.out)) == 0


def test_a_crowded_field_is_cut_in_blocks(shard, monkeypatch):
    fields = shard.write(["a", "b"])
    shard.crop(fields)
    expected = shard.out.read_bytes()
    seen = []

    def count(*arguments, labels, **options):
        seen.append(len(labels))
        return run_module_crop_cells(*arguments, labels=labels, **options)

    run_module_crop_cells = run_module.crop_cells
    monkeypatch.setattr(run_module, "crop_cells", count)
    monkeypatch.setattr(run_module, "BLOCK_BYTES", 2 * 6 * 16 * 16)
    shard.crop(fields)
    assert seen == [2, 1, 2, 1]
    assert shard.out.read_bytes() == expected


def test_cells_of_a_field_without_label_images_are_not_left_out_in_silence(shard):
    fields = shard.write(["a", "b"])
    cells = pd.read_parquet(shard.cells)
    pd.concat([cells, cells.iloc[:1].assign(field_id="c", cell_id="c:1")]).to_parquet(shard.cells)
    with pytest.raises(ImageError, match=r"masks\.zarr: no label images of the field c, of which .*delete both"):
        shard.crop(fields)
