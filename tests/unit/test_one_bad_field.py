"""Whatever fails with one field sets that field aside; what would fail with every field ends the shard."""

import builtins
import errno
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from subcell.catalog import set_aside
from subcell.catalog.fields import as_fields
from subcell.channels import CHANNELS
from subcell.crops import run as crops_run
from subcell.crops.run import crop_fields
from subcell.crops.store import CropStore, content_sha256
from subcell.errors import SubcellError
from subcell.segmentation import run as segmentation_run
from subcell.segmentation.masks import open_masks
from subcell.segmentation.run import segment_fields
from subcell.segmentation.segmenter import Labels, Prepared
from subcell.sources import images as images_module
from subcell.sources.images import link_images

SIDE = 32
ARGUMENTS = {
    "UnicodeDecodeError": ("utf-8", b"x", 0, 1, "bad"),
    "UnicodeEncodeError": ("utf-8", "x", 0, 1, "bad"),
    "UnicodeTranslateError": ("x", 0, 1, "bad"),
    "ExceptionGroup": ("several", [ValueError("x")]),
    "BaseExceptionGroup": ("several", [KeyboardInterrupt()]),
}
EVERY = {
    name: kind(*ARGUMENTS.get(name, ("of one field",)))
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException) and kind.__name__ == name
}
PASSING = {name: error for name, error in EVERY.items() if not isinstance(error, Exception)}
CAUGHT = {name: error for name, error in EVERY.items() if isinstance(error, Exception)}


class Squares:
    """Finds one square cell in every field; fails at a step with the field whose nuclei are brightest."""

    def __init__(self, step="", error=None, everywhere=False):
        self.step, self.error, self.everywhere = step, error, everywhere

    def fail(self, step, bright):
        if step == self.step and (bright == 200 or self.everywhere):
            raise self.error

    def prepare(self, image, present, pixel_size_um):
        self.fail("prepare", image[2].max())
        small = image[2:3].astype(np.float32)
        return Prepared(small, image.shape[1:], image.shape[1:], pixel_size_um, (), False)

    def fields_a_batch(self, prepared):
        self.fail("fields_a_batch", prepared.image.max())
        return 4

    def predict(self, fields):
        self.fail("predict", max(field.image.max() for field in fields))
        return [{} for _ in fields]

    def finish(self, field, flows):
        self.fail("finish", field.image.max())
        labels = np.zeros(field.native, np.int32)
        labels[8:24, 8:24] = 1
        return Labels(labels, labels, np.ones(1, np.int64), "er")


def sheet(folder):
    rows = []
    for field_id, bright in (("a", 100), ("bad", 200), ("c", 101)):
        paths = {channel: str(folder / f"{field_id}_{channel}.png") for channel in CHANNELS}
        for path in paths.values():
            image = np.full((SIDE, SIDE), 10, np.uint8)
            image[8:24, 8:24] = bright
            Image.fromarray(image).save(path)
        rows.append({"field_id": field_id, "pixel_size_um": 0.5, **paths})
    return as_fields(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def linked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linked")
    fields = sheet(folder)
    link_images(fields, folder / "images")
    return folder, fields


def segment(linked, out, segmenter):
    folder, fields = linked
    quality = segment_fields(
        folder / "images", fields, segmenter, out / "m.zarr", out / "cells.parquet", out / "qc.parquet"
    )
    return quality.set_index("field_id")


def only_for_bad(real, error):
    def replaced(*given, **named):
        if any("bad" in str(value) for value in (*given, *named.values()) if isinstance(value, str | Path | dict)):
            raise error
        return real(*given, **named)

    return replaced


@pytest.mark.parametrize("step", ["read_field", "prepare", "fields_a_batch", "predict", "finish", "measure_cells"])
@pytest.mark.parametrize("name", CAUGHT)
def test_segmentation_sets_one_field_aside(linked, tmp_path, monkeypatch, caplog, step, name):
    error = CAUGHT[name]
    if step in ("read_field", "measure_cells"):
        monkeypatch.setattr(segmentation_run, step, only_for_bad(getattr(segmentation_run, step), error))
    quality = segment(linked, tmp_path, Squares(step, error))
    if step == "fields_a_batch":
        assert (quality["status"] == "ok").all()
        return
    assert quality["status"].to_dict() == {"a": "ok", "bad": "set aside", "c": "ok"}
    assert sorted(open_masks(tmp_path / "m.zarr").field_ids) == ["a", "c"]
    # Python itself makes the second of the first inside a generator.
    names = ("StopIteration", "RuntimeError") if name == "StopIteration" else (name,)
    expected = ["memory does not suffice"] if name == "MemoryError" else [f"failed with {name}" for name in names]
    assert any(text in quality.loc["bad", "reason"] for text in expected)
    assert name == "MemoryError" or "Traceback" in caplog.text


@pytest.mark.parametrize("step", ["prepare", "predict", "finish"])
@pytest.mark.parametrize("name", PASSING)
def test_what_ends_a_program_ends_segmentation(linked, tmp_path, step, name):
    with pytest.raises(type(PASSING[name])):
        segment(linked, tmp_path, Squares(step, PASSING[name]))


@pytest.mark.parametrize("step", ["prepare", "predict", "finish"])
@pytest.mark.parametrize(
    "error", [RuntimeError("no such device"), OSError(errno.ENOSPC, "full"), SubcellError("changed")]
)
def test_what_fails_with_every_field_ends_segmentation(linked, tmp_path, step, error):
    with pytest.raises(type(error), match=str(error.args[-1])):
        segment(linked, tmp_path, Squares(step, error, everywhere=True))


@pytest.mark.parametrize("step", ["read_field", "describer", "crop_cells"])
@pytest.mark.parametrize("name", CAUGHT)
def test_cropping_sets_one_field_aside(linked, tmp_path, monkeypatch, step, name):
    folder, fields = linked
    segment(linked, tmp_path, Squares())
    given = (folder / "images", tmp_path / "m.zarr", tmp_path / "cells.parquet")
    if step == "crop_cells":
        real = crops_run.crop_cells

        def failing(image, *rest, **named):
            if image.max() == 200:
                raise CAUGHT[name]
            return real(image, *rest, **named)

        monkeypatch.setattr(crops_run, step, failing)
    else:
        monkeypatch.setattr(crops_run, step, only_for_bad(getattr(crops_run, step), CAUGHT[name]))
    aside = crop_fields(*given, fields, tmp_path / "c.h5sc", field_um=16, pixels=16)
    assert aside["field_id"].tolist() == ["bad"]
    assert CropStore(tmp_path / "c.h5sc").obs["field_id"].tolist() == ["a", "c"]


def test_a_field_that_fails_when_half_of_it_is_written_is_taken_back(linked, tmp_path, monkeypatch):
    folder, fields = linked
    segment(linked, tmp_path, Squares())
    given = (folder / "images", tmp_path / "m.zarr", tmp_path / "cells.parquet")
    crop_fields(*given, fields[fields["field_id"] != "bad"], tmp_path / "without.h5sc", field_um=16, pixels=16)
    blocks = crops_run._blocks

    def failing(kept, **named):
        yield from blocks(kept, **named)
        if (kept["field_id"] == "bad").all():
            raise ValueError("after the first block")

    monkeypatch.setattr(crops_run, "_blocks", failing)
    aside = crop_fields(*given, fields, tmp_path / "c.h5sc", field_um=16, pixels=16)
    assert aside["field_id"].tolist() == ["bad"]
    assert CropStore(tmp_path / "c.h5sc").obs["field_id"].tolist() == ["a", "c"]
    assert content_sha256(tmp_path / "c.h5sc") == content_sha256(tmp_path / "without.h5sc")


@pytest.mark.parametrize("step", ["file_kind", "sha256_of"])
@pytest.mark.parametrize("name", CAUGHT)
def test_listing_sets_one_field_aside(tmp_path, monkeypatch, step, name):
    fields = sheet(tmp_path)
    monkeypatch.setattr(images_module, step, only_for_bad(getattr(images_module, step), CAUGHT[name]))
    ledger, aside = link_images(fields, tmp_path / "images")
    assert aside["field_id"].tolist() == ["bad"]
    assert set(ledger.loc[ledger["status"] == "ok", "field_id"]) == {"a", "c"}


def test_a_full_disk_is_of_no_field(caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(OSError, match="full"):
        set_aside.reason_of(OSError(errno.ENOSPC, "full"), "f", "reading")
    assert caplog.text == ""
