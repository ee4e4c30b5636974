"""Damaged planes, TIFFs, PNGs, XML, sheets and ledgers: read rightly or refused in a few lines, never worse."""

import io
import random
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fuzz import damaged, fuzz
from PIL import Image

from subcell.catalog.pixel_size import ome_pixel_size_um
from subcell.catalog.planes import split_plane
from subcell.catalog.sheet import read_sheet
from subcell.imaging.ledger import ledger_table, read_ledger, write_ledger
from subcell.imaging.read import read_plane

BUDGET_S = 20
MODULES = ("numpy", "pandas", "tifffile", "imagecodecs", "PIL.Image", "subcell.imaging.read", "subcell.catalog.sheet")
STACK = np.random.default_rng(0).integers(0, 60000, (3, 4, 2, 40, 56), np.uint16)
"""Channels, depths, times."""


def read_path(path):
    return read_plane(*split_plane(path))


def read_bytes(given):
    """Read one file from its bytes; small files, so that writing them costs nothing."""
    path, data, plane = given
    Path(path).write_bytes(data)
    return read_plane(path, plane)


def pixel_size_of(given):
    path, data, plane = given
    Path(path).write_bytes(data)
    size = ome_pixel_size_um(path)
    return size, read_plane(path, plane)


def sheet_of(given):
    path, data = given
    Path(path).write_bytes(data)
    return read_sheet(path)


def ledger_of(given):
    folder, data = given
    (Path(folder) / "ledger.tsv").write_bytes(data)
    return read_ledger(folder)


def same(image):
    """A damaged file gives the pixels that were written, or none."""
    return lambda given, value: np.array_equal(value, image)


def test_planes(tmp_path):
    """Whatever stands behind #: the plane that it names by all rules, or none."""
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, STACK, metadata={"axes": "CZTYX"}, ome=True)
    values = ("0", "1", "2", "3", "-1", "1e9", "max", "best_focus", "", "０", "9" * 30, "x", " 1")

    def named(seed):
        dice = random.Random(seed)
        pairs = [(key, dice.choice(values[:4] if dice.random() < 0.7 else values)) for key in dice.sample("cztczs", 3)]
        return pairs, f"{path}#" + dice.choice((",", ",", ",", ";", "#")).join("=".join(pair) for pair in pairs)

    pairs_of = {text: dict(pairs) for pairs, text in map(named, range(300))}

    def right(text, value):
        asked = pairs_of[text]
        z = asked["z"]
        depths = STACK[int(asked["c"]), :, int(asked["t"])]
        return z == "best_focus" or np.array_equal(value, depths.max(0) if z == "max" else depths[int(z)])

    counts = fuzz(read_path, pairs_of, right, budget_s=BUDGET_S, modules=MODULES)
    assert counts["refused"]


@pytest.mark.parametrize(
    "options", [{"compression": "zlib"}, {"compression": "zlib", "bigtiff": True}, {"ome": True, "compression": "zlib"}]
)
def test_tiffs_whose_pixels_are_damaged(tmp_path, options):
    """Cut off, or with changed pixels under a checksum: all or nothing."""
    image = STACK[0, 0, 0]
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)
    data = file.getvalue()
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        start, size = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]

    def inputs():
        for seed in count():
            dice = random.Random(seed)
            changed = bytearray(data)
            changed[dice.randrange(start, start + size)] ^= 1 << dice.randrange(8)
            yield str(tmp_path / "a.tif"), bytes(changed) if seed % 2 else data[: dice.randrange(start + size)], ""

    assert fuzz(read_bytes, inputs(), same(image), budget_s=BUDGET_S / 2, modules=MODULES)["refused"]


def test_tiffs_damaged_anywhere(tmp_path):
    """A changed header may describe another image, which nobody can tell; it costs no more time and memory."""
    file = io.BytesIO()
    tifffile.imwrite(file, STACK[:, 0, 0], metadata={"axes": "CYX"}, ome=True, compression="zlib")
    inputs = ((str(tmp_path / "a.tif"), damaged(file.getvalue(), random.Random(seed)), "c=1") for seed in count())
    fuzz(read_bytes, inputs, lambda given, value: value.ndim == 2, budget_s=BUDGET_S, modules=MODULES)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pngs(tmp_path, dtype):
    """Every chunk of a PNG has a checksum."""
    image = (STACK[0, 0, 0] >> (8 if dtype == np.uint8 else 0)).astype(dtype)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    inputs = ((str(tmp_path / "a.png"), damaged(file.getvalue(), random.Random(seed)), "") for seed in count())
    assert fuzz(read_bytes, inputs, same(image), budget_s=BUDGET_S / 2, modules=MODULES)["refused"]


def test_xml(tmp_path):
    """The header of an OME-TIFF: damaged, nested deeply, with entities that grow."""
    path = tmp_path / "a.ome.tif"
    image = STACK[0, 0, 0]
    tifffile.imwrite(path, image, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1})
    xml = tifffile.tiffcomment(path).encode()
    grows = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(12)
    )
    special = [
        xml.replace(b"<OME", grows + b"]><OME").replace(b"<Image", b"<b>&m;</b><Image"),
        xml.replace(b"<Image", b"<a>" * 100_000 + b"<Image"),
        xml.replace(b'SizeT="1"', b'SizeT="100000000"'),
        xml.replace(b'SizeZ="1"', b'SizeZ="-1"'),
        xml.replace(b'SizeC="1"', b'SizeC="nan"'),
    ]

    def inputs():
        for number in count():
            text = special[number] if number < len(special) else damaged(xml, random.Random(number))
            tifffile.tiffcomment(path, text.replace(b"\0", b" "))
            yield str(tmp_path / "b.ome.tif"), path.read_bytes(), ""

    def right(given, value):
        return value[1].shape == image.shape and np.array_equal(value[1], image)

    fuzz(pixel_size_of, inputs(), right, budget_s=BUDGET_S, modules=MODULES)


def test_sheets(tmp_path):
    """Rows that are used have files that are there and pixel sizes that can be meant."""
    Image.fromarray(np.full((20, 20), 5, np.uint8)).save(tmp_path / "a.png")
    rows = "".join(f"f{number},0.{number}1,a.png,HPA{number},G{number},Cytosol,train\n" for number in range(8))
    sheet = f"field_id,pixel_size_um,nucleus,antibody,gene,locations,split\n{rows}".encode()
    inputs = ((str(tmp_path / "s.csv"), damaged(sheet, random.Random(seed))) for seed in count())

    def right(given, value):
        fields, _ = value
        return fields["pixel_size_um"].between(0.01, 10).all() and fields["nucleus"].eq(str(tmp_path / "a.png")).all()

    fuzz(sheet_of, inputs, right, budget_s=BUDGET_S, modules=MODULES)


def test_ledgers(tmp_path):
    rows = [
        {"field_id": f"f{n}", "channel": "er", "file": f"{n}.png", "sha256": "0" * 64, "status": "ok"} for n in range(8)
    ]
    write_ledger(tmp_path, ledger_table(rows))
    whole = (tmp_path / "ledger.tsv").read_bytes()
    inputs = ((str(tmp_path), damaged(whole, random.Random(seed))) for seed in count())

    def right(given, value):
        return value["status"].isin(["ok", "set aside"]).all() and (value["file"] != "").all()

    assert fuzz(ledger_of, inputs, right, budget_s=BUDGET_S, modules=MODULES)["refused"]
