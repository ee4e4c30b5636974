"""Scores of masks: known counts on drawn objects, and fields that cannot be scored."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from subcell.benchmarks.segmentation import run_segmentation
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


def test_perfect_masks(tmp_path):
    _, scores, table = score(tmp_path, {f"f{i}": (squares(3), squares(3), squares(3), squares(3)) for i in range(3)})
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
        "good": (squares(2), None, squares(2), squares(2)),
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
