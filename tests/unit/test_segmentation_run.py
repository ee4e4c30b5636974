"""Overlapping stages, shared batches, plates, agreement, and Cellpose's network at full size."""

import os
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from test_segmentation import PIXEL_UM, fields_table, run, two_cells, write_field

from subcell.channels import CHANNELS
from subcell.imaging.ledger import ledger_table, write_ledger
from subcell.segmentation import flows as flows_module
from subcell.segmentation.measure import picture_quality
from subcell.segmentation.overlap import overlapped
from subcell.segmentation.pixel_size import beside_other_fields, pixel_size_warning
from subcell.segmentation.plates import outliers, robust_z
from subcell.segmentation.segmenter import Segmenter
from subcell.segmentation.tables import QC_SCHEMA


@pytest.fixture(scope="module")
def segmenter():
    torch.set_num_threads(1)
    return Segmenter()


def overlap(items, *, most=2, fail_at=None, workers=2):
    batches, written, threads = [], [], set()

    def read(item):
        if item == fail_at:
            raise RuntimeError("damaged")
        threads.add(threading.get_ident())
        return item

    def predict(batch):
        batches.append(batch)
        return [-item for item in batch]

    overlapped(
        items,
        read=read,
        batch_of=lambda item: (item // 10, most),
        predict=predict,
        finish=lambda item, result: (item, result),
        write=written.append,
        workers=workers,
    )
    return batches, written, threads


def test_items_come_out_in_order_in_batches_of_one_kind():
    batches, written, threads = overlap([1, 2, 3, 11, 12, 4])
    assert batches == [[1, 2], [3], [11, 12], [4]]
    assert written == [(item, -item) for item in (1, 2, 3, 11, 12, 4)]
    assert threading.get_ident() not in threads
    assert overlap([])[1] == []


def test_an_error_in_a_thread_ends_the_run():
    with pytest.raises(RuntimeError, match="damaged"):
        overlap(list(range(9)), fail_at=5)


def test_fields_that_share_a_batch_get_the_same_masks(tmp_path, segmenter, monkeypatch):
    image = two_cells(size=192)
    rows = [row for n in range(3) for row in write_field(tmp_path, f"f{n}", np.roll(image, 20 * n, axis=2))]
    seen = []
    predict = Segmenter.predict
    monkeypatch.setattr(Segmenter, "predict", lambda self, batch: seen.append(len(batch)) or predict(self, batch))
    for tiles in (1, 3):
        monkeypatch.setattr(flows_module, "CPU_TILES", tiles)
        run(tmp_path, rows, fields_table("f0", "f1", "f2"), segmenter, f"by{tiles}")
    assert seen == [1, 1, 1, 3]
    for name in ("cells", "qc"):
        assert (tmp_path / f"by1_{name}.parquet").read_bytes() == (tmp_path / f"by3_{name}.parquet").read_bytes()


def test_a_field_says_where_its_cells_and_its_scale_come_from(tmp_path, segmenter):
    image = two_cells()
    rows = write_field(tmp_path, "both", image) + write_field(tmp_path, "dna", image, ("nucleus",))
    rows += write_field(tmp_path, "er", image, ("nucleus", "er"))
    _, cells, quality = run(tmp_path, rows, fields_table("both", "dna", "er"), segmenter)
    assert quality["cell_body"].to_dict() == {"both": "microtubules+er", "dna": "nucleus dilated", "er": "er"}
    assert set(cells["cell_body"]) == set(quality["cell_body"])
    assert (cells["nuclei"] == 1).all()
    assert quality["border_fraction"].tolist() == [0.5] * 3
    assert quality.loc["both", "bit_depth"] == 8
    assert (cells["dna_intensity"] > cells["mean_nucleus"]).all()
    assert np.isnan(quality.loc["dna", "background_er"])


def test_saturation_and_background_are_those_of_the_camera(tmp_path, segmenter):
    from subcell.imaging.camera import Camera
    from subcell.segmentation.run import segment_fields

    image = two_cells(dtype=np.uint16) * np.uint16(50) + np.uint16(500)
    image[3, :80] = 65535
    write_ledger(tmp_path, ledger_table(write_field(tmp_path, "raw", image)))
    paths = [tmp_path / name for name in ("m.zarr", "c.parquet", "q.parquet")]
    (row,) = segment_fields(tmp_path, fields_table("raw"), segmenter, *paths, camera=Camera(offset="auto")).to_dict(
        "records"
    )
    assert "protein=" in row["camera_offset"]
    assert row["saturated_fraction"] == pytest.approx(80 / 256)
    assert row["background_nucleus"] == np.percentile(image[2], 1) > 500


def test_nuclei_of_a_size_that_none_have_are_flagged():
    assert pixel_size_warning(6, diameter_um=14.0, pixel_size_um=0.32) == ""
    assert "too small for 0.32 um a pixel" in pixel_size_warning(6, diameter_um=9.3, pixel_size_um=0.32)
    assert "too large" in pixel_size_warning(6, diameter_um=40.0, pixel_size_um=0.32)
    assert pixel_size_warning(2, diameter_um=3.0, pixel_size_um=0.32) == ""


def diameters_table(*diameters):
    rows = {"status": "ok", "cells": 12, "touching_border": 4, "nucleus_diameter_um": diameters}
    return pd.DataFrame(rows).assign(field_id=[f"f{n}" for n in range(len(diameters))])


@pytest.mark.parametrize("true_um", [12.0, 14.0, 15.0, 17.0])
@pytest.mark.parametrize("factor", [1.5, 1 / 1.5])
def test_a_field_whose_pixel_size_is_off_by_half_stands_out_among_its_line(true_um, factor):
    others = true_um * np.random.default_rng(1).normal(1, 0.08, 11)
    warnings = beside_other_fields(diameters_table(*others, true_um * factor), ["U-2 OS"] * 12)
    assert warnings[:-1] == [""] * 11
    assert f"{true_um * factor:.1f} um wide" in warnings[-1]
    assert "of U-2 OS" in warnings[-1]
    assert ("smaller" if factor > 1 else "larger") in warnings[-1]


def test_lines_may_differ_in_the_size_of_their_nuclei():
    table = diameters_table(*[12.0] * 6, *[19.0] * 6, 18.0, 19.0)
    assert not any(beside_other_fields(table, ["A"] * 6 + ["B"] * 6 + ["B"] * 2))
    # A line of two fields has no measure of its own.
    warnings = beside_other_fields(table, ["A"] * 6 + ["A"] * 5 + ["C"] + ["D"] * 2)
    assert [bool(text) for text in warnings] == [False] * 6 + [True] * 5 + [False] * 3
    assert not any(beside_other_fields(diameters_table(12.0, 12.0, 12.0, 30.0), [""] * 4))
    few = table.assign(cells=6)
    assert not any(beside_other_fields(few, ["A"] * 14))


def test_two_segmenters_agree_with_themselves_and_not_with_another(tmp_path, segmenter):
    from subcell.segmentation.run import segment_fields

    run(tmp_path, write_field(tmp_path, "a", two_cells()), fields_table("a"), segmenter)
    paths = [tmp_path / name for name in ("m.zarr", "c.parquet", "q.parquet")]
    table = segment_fields(tmp_path, fields_table("a"), segmenter, *paths, compare_with=segmenter)
    assert table["agreement_f1"].tolist() == [1.0]
    other = Segmenter(min_cell_um2=1e6)
    assert segment_fields(tmp_path, fields_table("a"), segmenter, *paths, compare_with=other)[
        "agreement_f1"
    ].tolist() == [0.0]


def quality_table(plates=6, fields=8):
    rows = []
    rng = np.random.default_rng(0)
    for plate in range(plates):
        for number in range(fields):
            row = dict.fromkeys(QC_SCHEMA.names, 10.0) | {"cells": 20 + rng.integers(-2, 3)}
            rows.append(row | {"field_id": f"{plate}-{number}", "plate": f"P{plate}", "status": "ok"})
    return pd.DataFrame(rows)


def test_fields_and_plates_that_stand_out_are_found():
    table = quality_table()
    assert outliers(table)[0].empty
    table.loc[table["field_id"] == "2-3", "focus"] = 1.0
    table.loc[table["plate"] == "P4", "dna_intensity"] = 80.0
    table.loc[table["field_id"] == "0-0", "status"] = "set aside"
    fields, plates = outliers(table)
    assert fields[["field_id", "metric"]].to_numpy().tolist() == [["2-3", "focus"]]
    assert plates[plates["outlier"]][["plate", "metric"]].to_numpy().tolist() == [["P4", "dna_intensity"]]
    assert plates[plates["plate"] == "P0"]["fields_set_aside"].unique().tolist() == [1]


def test_few_values_have_no_outliers():
    assert np.isnan(robust_z(np.array([1.0, 1, 1, 90]), "focus")).all()
    assert robust_z(np.array([1.0, 1, 1, 1, 1, 90]), "focus")[-1] > 100


def test_a_pixel_or_a_grey_level_more_is_no_outlier():
    table = quality_table()
    table["saturated_fraction"], table["background_er"] = 0.0, 4.0
    table.loc[table["field_id"] == "1-1", ["saturated_fraction", "background_er"]] = 1e-5, 5.0
    table.loc[table["field_id"] == "2-3", ["saturated_fraction", "background_er"]] = 0.4, 40.0
    fields, _ = outliers(table)
    assert fields[["field_id", "metric"]].to_numpy().tolist() == [
        ["2-3", "saturated_fraction"],
        ["2-3", "background_er"],
    ]
    assert fields["robust_z"].tolist() == [pytest.approx(80), pytest.approx(18)]


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), *((np.uint16, 2**bits - 1) for bits in (10, 12, 14, 16))])
def test_saturation_is_seen_at_full_scale_of_every_camera(dtype, full):
    image = np.zeros((4, 8, 8), dtype)
    image[3, :4] = full
    assert picture_quality(image, CHANNELS)["saturated_fraction"] == 0.5
    image[3, :4] -= 1
    assert picture_quality(image, CHANNELS)["saturated_fraction"] == 0


@pytest.mark.skipif(
    not os.environ.get("SUBCELL_FULL_SIZE"), reason="takes 3 GB and up to minutes; set SUBCELL_FULL_SIZE=1 to run it"
)
def test_cellposes_network_at_full_size_runs_the_real_path_on_a_tile(tmp_path):
    """Published weights have to be downloaded; these are random, of the same shapes."""
    from cellpose.vit import CPSAM

    with torch.device("meta"):
        shapes = CPSAM(dtype=torch.bfloat16).state_dict()
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.empty(like.shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
        for name, like in shapes.items()
    }
    assert sum(tensor.numel() for tensor in weights.values()) > 300e6
    torch.save(weights, tmp_path / "user_model")
    del weights
    segmenter = Segmenter(str(tmp_path / "user_model"))
    field = segmenter.prepare(two_cells(size=128), pixel_size_um=PIXEL_UM)
    (flows,) = segmenter.predict([field])
    assert set(flows) == {"nuclei", "cells"}
    for flow, logit in flows.values():
        assert flow.shape == (2, 64, 64)
        assert np.isfinite(flow).all()
        assert logit.std() > 0
    assert segmenter.finish(field, flows).cells.shape == (128, 128)
