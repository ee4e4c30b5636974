"""Illumination is estimated from the fields that it made uneven, and taken off them."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from subcell.catalog.fields import as_fields
from subcell.imaging import flat_field as flat_field_module
from subcell.imaging.camera import Camera, flat_field_name
from subcell.imaging.flat_field import FEWEST_FIELDS, estimate_flat_fields
from subcell.imaging.ledger import ledger_table, write_ledger
from subcell.imaging.read import read_field, read_ledger

SIDE = 128
OFFSET = 500


@pytest.fixture(params=["mean of the fields", "BaSiC"])
def estimate(request, monkeypatch):
    """BaSiC needs an environment of its own; elsewhere the mean of many fields, which is what they have in common."""
    if request.param == "BaSiC":
        if importlib.util.find_spec("basicpy") is None:
            pytest.skip("basicpy is not here: see envs/flat_field.yaml")
    else:
        monkeypatch.setattr(flat_field_module, "flat_field", lambda planes: planes.mean(0) / planes.mean())


def lit_unevenly(folder, plates):
    """Fields of cells on a background, under light that falls from left to right, behind it a camera's offset."""
    gain = np.linspace(1.3, 0.7, SIDE)[None].repeat(SIDE, axis=0)
    rng = np.random.default_rng(0)
    rows, fields = [], []
    for plate, count in plates.items():
        for number in range(count):
            light = np.full((SIDE, SIDE), 400.0)
            for y, x in rng.integers(0, SIDE, (12, 2)):
                light[max(0, y - 12) : y + 12, max(0, x - 12) : x + 12] = 700
            pixels = OFFSET + gain * light + rng.normal(0, 4, light.shape)
            y, x = rng.integers(0, SIDE - 9, 2)
            pixels[y : y + 5, x : x + 5] = OFFSET  # more than 0.1 percent where there is no light
            name = f"{plate}_{number:02d}"
            Image.fromarray(np.rint(pixels).astype(np.uint16)).save(folder / f"{name}.png")
            rows.append({"field_id": name, "channel": "nucleus", "file": f"{name}.png", "status": "ok"})
            fields.append({"field_id": name, "plate": plate, "pixel_size_um": 0.32})
    write_ledger(folder, ledger_table(rows))
    return as_fields(pd.DataFrame(fields))


def unevenness(folder, fields, camera):
    """How much darker the right quarter of the mean field is than the left one."""
    ledger = read_ledger(folder)
    mean = np.zeros((SIDE, SIDE))
    for field in fields.itertuples():
        image, present = read_field(folder, ledger, field.field_id)
        mean += camera.correct(image, present, plate=field.plate)[0][2]
    return 1 - mean[:, -SIDE // 4 :].mean() / mean[:, : SIDE // 4].mean()


@pytest.mark.parametrize("offset", ["auto", {"nucleus": float(OFFSET)}], ids=["auto", "given"])
def test_fields_with_an_offset_come_out_even(tmp_path, estimate, offset):
    fields = lit_unevenly(tmp_path, {"p 1": 48})
    camera = Camera(offset=offset)
    assert unevenness(tmp_path, fields, camera) > 0.3
    estimate_flat_fields([tmp_path], fields, tmp_path / "gains", camera=camera)
    assert abs(unevenness(tmp_path, fields, Camera(offset=offset, flat_field=tmp_path / "gains"))) < 0.04


def test_a_small_plate_stays_as_it_is_and_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(flat_field_module, "flat_field", lambda planes: planes.mean(0) / planes.mean())
    fields = lit_unevenly(tmp_path, {"large": FEWEST_FIELDS + 1, "small": FEWEST_FIELDS - 1})
    # A file that is torn is one field less, and segmentation says so.
    torn = tmp_path / "large_00.png"
    torn.write_bytes(torn.read_bytes()[:500])
    lines = []
    table = estimate_flat_fields([tmp_path], fields, tmp_path / "gains", log=lines.append).set_index("plate")
    assert table["fields"].to_dict() == {"large": FEWEST_FIELDS, "small": FEWEST_FIELDS - 1}
    assert table["estimated"].to_dict() == {"large": True, "small": False}
    assert len(lines) == 1
    assert f"plate small, nucleus: {FEWEST_FIELDS - 1} fields are too few" in lines[0]
    assert pd.read_csv(tmp_path / "gains" / "plates.tsv", sep="\t")["estimated"].tolist() == [True, False]
    image, present = read_field(tmp_path, read_ledger(tmp_path), "small_00")
    corrected, _ = Camera(flat_field=tmp_path / "gains").correct(image, present, plate="small")
    assert (corrected == image).all()
    assert (tmp_path / "gains" / flat_field_name("large", "nucleus")).is_file()


def test_no_gain_is_taken_that_would_divide_by_nothing(tmp_path, monkeypatch):
    dark = np.ones((256, 256), np.float32)
    dark[0, 0] = 0
    monkeypatch.setattr(flat_field_module, "flat_field", lambda planes: dark)
    fields = lit_unevenly(tmp_path, {"p": FEWEST_FIELDS})
    lines = []
    table = estimate_flat_fields([tmp_path], fields, tmp_path / "gains", log=lines.append)
    assert table["estimated"].tolist() == [False]
    assert "places without light" in lines[0]
    assert unevenness(tmp_path, fields, Camera(flat_field=tmp_path / "gains")) > 0.1
