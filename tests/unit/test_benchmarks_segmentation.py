"""Scores of masks: known counts on drawn objects, and fields that cannot be scored."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from subcell.benchmarks.tasks.segmentation import run_segmentation, same_objects
from subcell.imaging.ledger import ledger_table, write_ledger
from subcell.segmentation.masks import create_masks


def squares(count, *, side=10, shift=0, size=64):
    """Label image of `count` squares in a row, moved to the right by `shift`."""
    labels = np.zeros((size, size), np.int32)
    for number in range(count):
        labels[5 : 5 + side, 5 + 20 * number + shift : 5 + 20 * number + shift + side] = number + 1
    return labels


def shard(folder, fields):
    """Write references and masks; `fields` is name -> (true nuclei, true cells, found nuclei, found cells)."""
    images, masks = folder / "images", folder / "masks.zarr"
    images.mkdir(parents=True)
    rows = []
    for name, (nuclei, cells, *_) in fields.items():
        for channel, labels in (("reference_nuclei", nuclei), ("reference_cells", cells)):
            if labels is not None:
                file = f"{name}_{channel}.tif"
                tifffile.imwrite(images / file, labels.astype(np.uint16))
                rows.append({"field_id": name, "channel": channel, "file": file, "status": "ok"})
    write_ledger(images, ledger_table(rows))
    with create_masks(masks) as writer:
        for name, (_, _, nuclei, cells) in fields.items():
            if nuclei is not None:
                writer.append(name, nuclei, cells, pixel_size_um=0.3)
    return images, masks


def score(tmp_path, fields):
    images, masks = shard(tmp_path / "shard", fields)
    run_segmentation(
        pd.DataFrame({"field_id": list(fields)}),
        images=[images],
        masks=[masks],
        out_json=tmp_path / "s.json",
        out_parquet=tmp_path / "s.parquet",
        dataset="d",
        model="compact",
        simulated=True,
        bootstraps=200,
        seed=0,
        head_seeds=3,
    )
    written = json.loads((tmp_path / "s.json").read_text())
    return written, {m["metric"]: m for m in written["metrics"]}, pd.read_parquet(tmp_path / "s.parquet")


def one_pixel_less(labels):
    labels = labels.copy()
    labels[5, 5] = 0
    return labels


def test_masks_that_are_right_but_for_a_pixel(tmp_path):
    truth, found = squares(3), one_pixel_less(squares(3))
    written, scores, table = score(tmp_path, {f"f{i}": (truth, truth, found, found) for i in range(3)})
    assert written["details"]["fields_identical_to_reference"] == 0
    for kind in ("nuclei", "cells"):
        assert (
            scores[f"{kind}_ap50"]["value"]
            == scores[f"{kind}_ap50_95"]["value"]
            == scores[f"{kind}_f1_50"]["value"]
            == 1
        )
        assert scores[f"{kind}_count_error"]["value"] == 0
        assert scores[f"{kind}_ap50"]["n"] == 3
    assert len(table) == 6


def test_copies_of_the_references_are_not_scored(tmp_path):
    truth = squares(3)
    renumbered = np.where(truth > 0, 9 - truth, 0)
    written, scores, table = score(tmp_path, {"a": (truth, truth, renumbered, truth), "b": (truth, None, truth, truth)})
    assert written["status"] == "not run"
    assert "copies of the reference" in written["reason"]
    assert not scores
    assert table.empty


def test_same_objects():
    truth = squares(2)
    assert same_objects(truth, np.where(truth > 0, 3 - truth, 0))
    assert not same_objects(truth, one_pixel_less(truth))
    assert not same_objects(truth, (truth > 0).astype(int))
    assert not same_objects(truth, np.where(truth == 0, 1, truth * 0))


def test_known_counts(tmp_path):
    # Moved by two of ten pixels, squares overlap by 8 / 12; one of three is missed.
    truth, found = squares(3), squares(2, shift=2)
    written, scores, _ = score(tmp_path, {"a": (truth, None, found, found), "b": (truth, None, truth, truth)})
    assert next(iter(scores)) == "nuclei_ap50"
    assert scores["nuclei_ap50"]["value"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["nuclei_f1_50"]["value"] == pytest.approx((2 * 2 / 5 + 1) / 2)
    # 0.667 counts at the overlaps 0.5, 0.55, 0.6 and 0.65 of ten.
    assert scores["nuclei_ap50_95"]["value"] == pytest.approx((0.4 * 2 / 3 + 1) / 2)
    assert scores["nuclei_count_error"]["value"] == pytest.approx((1 / 3 + 0) / 2)
    assert written["details"]["pooled"]["nuclei"]["ap50"] == pytest.approx(5 / 6)
    assert "cells_ap50" not in scores


def test_fields_that_cannot_be_scored_are_named(tmp_path):
    fields = {
        "good": (squares(2), None, one_pixel_less(squares(2)), squares(2)),
        "aside": (squares(2), None, None, None),
        "wrong": (squares(2, size=80), None, squares(2), squares(2)),
    }
    written, scores, _ = score(tmp_path, fields)
    assert scores["nuclei_ap50"]["n"] == 1
    assert scores["nuclei_ap50"]["low"] is None
    assert set(written["details"]["fields_not_scored"]) == {"aside", "wrong"}


def test_empty_fields_have_no_score_but_inventions_do(tmp_path):
    none = squares(0)
    _, scores, _ = score(
        tmp_path, {"empty": (none, None, none, none), "invented": (none, None, squares(2), squares(2))}
    )
    assert scores["nuclei_ap50"]["n"] == 1
    assert scores["nuclei_ap50"]["value"] == 0
    assert scores["nuclei_count_error"]["value"] is None


def test_without_references_it_is_not_run(tmp_path):
    written, _, table = score(tmp_path, {"a": (None, None, squares(2), squares(2))})
    assert written["status"] == "not run"
    assert written["reason"] == "needs reference masks"
    assert table.empty
