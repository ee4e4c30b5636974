"""From images to masks, tables and set-aside fields."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from subcell.catalog.fields import as_fields
from subcell.errors import CheckpointError, ImageError, ShapeError, SubcellError
from subcell.imaging.ledger import ledger_table, write_ledger
from subcell.segmentation.flows import drop_inconsistent, masks_from_flows, predict_flows, tile_size
from subcell.segmentation.masks import open_masks
from subcell.segmentation.measure import field_quality, measure_cells
from subcell.segmentation.network import CompactNet, load_networks, save_networks
from subcell.segmentation.run import segment_fields
from subcell.segmentation.scoring import pooled, score_masks
from subcell.segmentation.segmenter import COMPACT_WEIGHTS, Segmenter
from subcell.segmentation.tables import CELLS_SCHEMA, QC_SCHEMA

PIXEL_UM = 0.32


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter()


@pytest.fixture(scope="module")
def simulated():
    """A simulated field that the network was not trained on: image, true nuclei, true cells."""
    from subcell.sources.simulate import render_field

    return render_field(
        "unseen_1",
        antibody="SIM",
        locations=("Cytosol",),
        cell_line="U-2 OS",
        plate="unseen",
        seed=4321,
        field_px=320,
    )[:3]


def two_cells(size=256, dtype=np.uint8):
    """Two cells that anyone would find, one of them cut by the left edge."""
    y, x = np.mgrid[:size, :size].astype(float)
    image = np.zeros((4, size, size))
    for centre_y, centre_x in ((100, 150), (190, 12)):
        distance = np.hypot(y - centre_y, x - centre_x)
        image[2] += 200 / (1 + np.exp(distance - 22))
        for channel in (0, 1, 3):
            image[channel] += 120 * np.exp(-distance / 60) / (1 + np.exp((distance - 50) / 2))
    noise = np.random.default_rng(0).normal(6, 2, image.shape)
    return np.clip(image + noise, 0, 255).astype(dtype)


def write_field(folder, field_id, image, channels=("microtubules", "er", "nucleus", "protein")):
    """Write the channels of a field; returns rows of the ledger."""
    rows = []
    for number, channel in enumerate(("microtubules", "er", "nucleus", "protein")):
        if channel in channels:
            name = f"{field_id}_{channel}.png"
            Image.fromarray(image[number]).save(folder / name)
            rows.append({"field_id": field_id, "channel": channel, "file": name, "status": "ok"})
    return rows


def fields_table(*field_ids, pixel_size_um=PIXEL_UM):
    return as_fields(pd.DataFrame({"field_id": field_ids, "pixel_size_um": pixel_size_um}))


def run(folder, rows, fields, segmenter, out="out"):
    write_ledger(folder, ledger_table(rows))
    paths = [folder / f"{out}.zarr", folder / f"{out}_cells.parquet", folder / f"{out}_qc.parquet"]
    segment_fields(folder, fields, segmenter, *paths)
    return open_masks(paths[0]), pd.read_parquet(paths[1]), pd.read_parquet(paths[2]).set_index("field_id")


def test_shipped_weights_are_small_and_carry_their_settings():
    networks, about = load_networks(COMPACT_WEIGHTS)
    assert set(networks) == {"nuclei", "cells"}
    assert about["working_um_per_px"] == PIXEL_UM
    assert COMPACT_WEIGHTS.stat().st_size <= 10_000_000


def test_shipped_weights_find_the_cells_of_an_unseen_simulated_field(segmenter, simulated):
    image, true_nuclei, true_cells = simulated
    nuclei, cells = segmenter.segment(image, pixel_size_um=PIXEL_UM)
    assert pooled(score_masks(true_nuclei, nuclei))["ap"][0] > 0.75
    assert pooled(score_masks(true_cells, cells))["ap"][0] > 0.65


def test_the_same_image_gives_the_same_masks(segmenter, simulated):
    one, other = (segmenter.segment(simulated[0], pixel_size_um=PIXEL_UM) for _ in range(2))
    assert (one[0] == other[0]).all()
    assert (one[1] == other[1]).all()


def test_finer_pixels_give_the_same_cells_with_finer_edges(segmenter):
    image = two_cells()
    fine = np.stack([np.kron(plane, np.ones((3, 3), np.uint8)) for plane in image])
    coarse_cells = segmenter.segment(image, pixel_size_um=PIXEL_UM)[1]
    fine_cells = segmenter.segment(fine, pixel_size_um=PIXEL_UM / 3)[1]
    assert fine_cells.shape == (768, 768)
    assert score_masks(np.kron(coarse_cells, np.ones((3, 3), np.int32)), fine_cells, (0.9,))["tp"][0, 0] == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_nucleus_lies_in_the_cell_of_its_id(segmenter, dtype):
    image = two_cells(dtype=dtype) * dtype(200 if dtype == np.uint16 else 1)
    nuclei, cells = segmenter.segment(image, pixel_size_um=PIXEL_UM)
    assert nuclei.max() == cells.max() == 2
    assert nuclei.dtype == cells.dtype == np.int32
    assert (cells[nuclei > 0] == nuclei[nuclei > 0]).all()
    assert (cells > 0).sum() > 2 * (nuclei > 0).sum()


@pytest.mark.parametrize("present", [("nucleus", "er"), ("nucleus", "microtubules", "protein")])
def test_one_stain_of_the_cell_body_is_enough(segmenter, present):
    nuclei, cells = segmenter.segment(two_cells(), present, PIXEL_UM)
    assert cells.max() == 2
    assert (cells > 0).sum() > 2 * (nuclei > 0).sum()


def test_without_stains_of_the_body_a_cell_is_its_nucleus_and_a_rim(segmenter):
    image = two_cells()
    nuclei, cells = segmenter.segment(image, ("nucleus",), PIXEL_UM)
    assert cells.max() == 2
    from scipy.ndimage import distance_transform_edt

    # A rim of 5 um is 15.6 pixels wide.
    assert distance_transform_edt(nuclei == 0)[cells > 0].max() == pytest.approx(5 / PIXEL_UM, abs=3)
    image[[0, 1]] = 17
    assert (segmenter.segment(image, pixel_size_um=PIXEL_UM)[1] == cells).all()


def test_a_field_without_anything_has_no_cells(segmenter):
    flat = np.full((4, 200, 150), 9, np.uint8)
    assert not segmenter.segment(flat, pixel_size_um=PIXEL_UM)[1].any()
    noise = np.random.default_rng(1).poisson(5, (4, 256, 256)).astype(np.uint8)
    assert segmenter.segment(noise, pixel_size_um=PIXEL_UM)[1].max() <= 1
    assert segmenter.segment(noise[:, :16, :16], pixel_size_um=PIXEL_UM)[1].shape == (16, 16)


def test_images_that_cannot_be_segmented_say_why(segmenter):
    image = two_cells()
    with pytest.raises(ImageError, match="no nucleus channel"):
        segmenter.segment(image, ("er", "protein"), PIXEL_UM)
    with pytest.raises(ImageError, match="pixel size is nan"):
        segmenter.segment(image, pixel_size_um=float("nan"))
    with pytest.raises(ImageError, match="check its pixel size"):
        segmenter.segment(image, pixel_size_um=50.0)
    with pytest.raises(ShapeError, match="4, Y, X"):
        segmenter.segment(image[0], pixel_size_um=PIXEL_UM)
    broken = image.astype(np.float32)
    broken[1, 3, 3] = np.nan
    with pytest.raises(ImageError, match=r"NaN .* er"):
        segmenter.segment(broken, pixel_size_um=PIXEL_UM)


def test_a_model_that_does_not_exist_is_refused_before_anything_is_downloaded(tmp_path, monkeypatch):
    import cellpose.utils

    monkeypatch.setattr(cellpose.utils, "download_url_to_file", lambda *_, **__: pytest.fail("download"))
    with pytest.raises(CheckpointError, match="nowhere/model: no such segmentation model"):
        Segmenter("nowhere/model")
    with pytest.raises(CheckpointError, match=r"missing\.safetensors"):
        Segmenter(str(tmp_path / "missing.safetensors"))


def test_an_offline_download_is_one_clear_line(tmp_path, monkeypatch):
    import ssl

    import cellpose.models
    import cellpose.utils

    def offline(*_, **__):
        ssl._create_default_https_context = ssl._create_unverified_context
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    before = ssl._create_default_https_context
    monkeypatch.setattr(cellpose.models, "MODEL_DIR", tmp_path)
    monkeypatch.setattr(cellpose.utils, "download_url_to_file", offline)
    with pytest.raises(SubcellError, match=r"cpsam_v2 is not in .* cannot be downloaded") as caught:
        Segmenter("cpsam_v2")
    assert "\n" not in str(caught.value)
    assert ssl._create_default_https_context is before


def test_files_that_are_no_weights_are_refused(tmp_path):
    from safetensors.torch import save_file

    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(COMPACT_WEIGHTS.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot read"):
        load_networks(damaged)
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other)
    with pytest.raises(CheckpointError, match="not weights of the compact"):
        load_networks(other)
    networks = {"nuclei": CompactNet(1), "cells": CompactNet(3)}
    save_networks(tmp_path / "odd.safetensors", {"nuclei": networks["nuclei"]})
    with pytest.raises(CheckpointError, match="nuclei, cells"):
        load_networks(tmp_path / "odd.safetensors")
    text = tmp_path / "model.txt"
    text.write_text("not a model")
    with pytest.raises(CheckpointError, match="not a Cellpose model"):
        Segmenter(str(text))


def test_weights_come_back_as_they_were_saved(tmp_path):
    networks = {"nuclei": CompactNet(1), "cells": CompactNet(3, stem_width=4)}
    save_networks(tmp_path / "w.safetensors", networks, working_um_per_px=0.5, seed=3)
    read, about = load_networks(tmp_path / "w.safetensors")
    assert about == {"working_um_per_px": 0.5, "seed": 3}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(read[name].state_dict()[key], value), key
    assert json.dumps(read["cells"].settings) == json.dumps(networks["cells"].settings)


@pytest.mark.parametrize("shape", [(64, 64), (100, 333), (512, 512), (700, 300), (1200, 1100)])
def test_cellposes_tiling_puts_a_network_s_result_back_in_its_place(shape):
    class Echo(CompactNet):
        def forward(self, x):
            return x, x.new_zeros((len(x), 256))

    images = np.random.default_rng(0).random((2, 3, *shape), np.float32)
    flows, logit = predict_flows(Echo(3), images, batch_size=3)
    assert np.allclose(np.concatenate([flows, logit[:, None]], axis=1), images, atol=1e-5)


def test_common_fields_are_one_tile():
    assert tile_size(512, 512) == 544
    assert tile_size(384, 384) == 416
    assert tile_size(60, 100) == 224
    assert tile_size(5000, 5000) <= 1056


def flows_of(labels):
    from cellpose.dynamics import masks_to_flows_gpu

    return 5 * masks_to_flows_gpu(labels.astype(int))[0], np.where(labels > 0, 4.0, -4.0)


def test_true_flows_give_the_true_masks_and_wrong_ones_fail_the_check():
    y, x = np.mgrid[:120, :140]
    labels = np.zeros((120, 140), np.int32)
    labels[np.hypot(y - 40, (x - 50) / 1.5) < 25] = 1
    labels[np.hypot(y - 85, x - 100) < 22] = 2
    flows, logit = flows_of(labels)
    settings = {"flow_threshold": 0.4, "cellprob_threshold": 0.0, "device": torch.device("cpu")}
    found = masks_from_flows(flows, logit, **settings)
    assert score_masks(labels, found, (0.9,))["ap"][0, 0] == 1
    # An object whose flows point the other way cannot be what the network meant.
    flows[:, labels == 1] *= -1
    checked = drop_inconsistent(labels, flows, threshold=0.4, device=torch.device("cpu"))
    assert checked.max() == 1
    assert (checked[labels == 2] == 1).all()


def test_measures_of_two_squares():
    cells, nuclei = np.zeros((40, 50), np.int32), np.zeros((40, 50), np.int32)
    cells[0:10, 5:25], nuclei[2:6, 8:12] = 1, 1
    cells[20:30, 20:30], nuclei[24:26, 24:26] = 2, 2
    image = np.zeros((4, 40, 50), np.uint16)
    image[2] = nuclei * 100
    image[3] = 7
    one, two = measure_cells(image, nuclei, cells, field_id="f", present=("nucleus", "protein"), pixel_size_um=0.5)
    assert (one["cell_id"], one["touches_border"], two["touches_border"]) == ("f:1", True, False)
    assert (one["cell_area_um2"], one["nucleus_area_um2"]) == (50.0, 4.0)
    assert (two["centroid_y_px"], two["centroid_x_px"]) == (24.5, 24.5)
    assert [one[f"bbox_{end}_px"] for end in ("y0", "x0", "y1", "x1")] == [0, 5, 10, 25]
    assert one["mean_nucleus"] == pytest.approx(100 * 16 / 200)
    assert one["mean_protein"] == 7
    assert np.isnan(one["mean_er"])


def test_blur_lowers_focus_and_brightness_does_not_change_it():
    from scipy.ndimage import gaussian_filter

    image = np.zeros((4, 128, 128), np.float32)
    image[2] = np.random.default_rng(0).random((128, 128)) * 100
    sharp, bright, blurred = (
        field_quality(picture, ("nucleus",), [], pixel_size_um=PIXEL_UM)["focus"]
        for picture in (image, image * 5, np.stack([gaussian_filter(plane, 2) for plane in image]))
    )
    assert bright == pytest.approx(sharp, rel=1e-3)
    assert blurred < sharp / 5


def test_a_shard_with_good_bad_and_empty_fields(tmp_path, segmenter):
    image = two_cells()
    rows = write_field(tmp_path, "good", image)
    rows += write_field(tmp_path, "no_er", image, ("microtubules", "nucleus"))
    rows += write_field(tmp_path, "no_dna", image, ("er", "protein"))
    rows += write_field(tmp_path, "flat", np.full_like(image, 3))
    rows += write_field(tmp_path, "torn", image)
    (tmp_path / "torn_er.png").write_bytes((tmp_path / "torn_er.png").read_bytes()[:900])
    rows.append({"field_id": "lost", "channel": "nucleus", "file": "", "status": "set aside", "reason": "404"})
    masks, cells, quality = run(
        tmp_path, rows, fields_table("torn", "lost", "good", "no_er", "no_dna", "flat"), segmenter
    )
    assert quality["status"].to_dict() == {
        "flat": "no cells",
        "good": "ok",
        "lost": "set aside",
        "no_dna": "set aside",
        "no_er": "ok",
        "torn": "set aside",
    }
    assert quality.loc["lost", "reason"] == "nucleus: 404"
    assert "torn_er.png" in quality.loc["torn", "reason"]
    assert "nucleus channel is constant" in quality.loc["flat", "reason"]
    assert quality.loc["flat", "constant_channels"] == "microtubules;er;nucleus;protein"
    assert masks.field_ids == ("flat", "good", "no_er")
    assert list(cells["cell_id"]) == ["good:1", "good:2", "no_er:1", "no_er:2"]
    assert cells["touches_border"].sum() == 2
    assert quality.loc["good", "touching_border"] == 1
    assert np.isnan(cells["mean_er"].to_numpy()).tolist() == [False, False, True, True]
    nuclei, labels = masks.labels("good")
    for cell in cells[cells["field_id"] == "good"].itertuples():
        assert (labels == cell.label).sum() * PIXEL_UM**2 == pytest.approx(cell.cell_area_um2)
        assert (nuclei == cell.label).sum() * PIXEL_UM**2 == pytest.approx(cell.nucleus_area_um2)


def test_the_order_of_the_sheet_changes_nothing(tmp_path, segmenter):
    image = two_cells()
    rows = write_field(tmp_path, "a", image) + write_field(tmp_path, "b", image[:, ::-1])
    run(tmp_path, rows, fields_table("a", "b"), segmenter, "one")
    run(tmp_path, rows, fields_table("b", "a"), segmenter, "other")
    for name in ("cells", "qc"):
        assert (tmp_path / f"one_{name}.parquet").read_bytes() == (tmp_path / f"other_{name}.parquet").read_bytes()


def test_a_shard_without_fields_has_tables_with_all_columns(tmp_path, segmenter):
    masks, cells, quality = run(tmp_path, [], fields_table(), segmenter)
    assert masks.field_ids == ()
    assert list(cells.columns) == CELLS_SCHEMA.names
    assert list(quality.reset_index().columns) == QC_SCHEMA.names
    assert cells["label"].dtype == np.int64
    assert cells["touches_border"].dtype == bool
