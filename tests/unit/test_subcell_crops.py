"""SubCell's published crops: the order of their channels, their table, and their way into a crop file."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
from faulty_server import Site, serve

from subcell.catalog.fields import read_fields
from subcell.config.check import resolve
from subcell.crops.published import import_crops, nucleus_in, read_crop
from subcell.crops.store import CropStore
from subcell.errors import ImageError, SheetError
from subcell.imaging.ledger import read_ledger
from subcell.imaging.rgba import read_rgba
from subcell.sources import fetch_images, files_on_the_web, list_fields, read_release

QUIET = {"log": lambda text: None}
SIDE = 256
LEVELS = {"microtubules": 40, "er": 80, "nucleus": 120, "protein": 160}


def published(dtype=np.uint8, shape=(60, 90)):
    """A crop as published: written by OpenCV from microtubules, ER, DNA, protein, so that its red is DNA."""
    scale = 1 if dtype == np.uint8 else 256
    image = np.zeros((SIDE, SIDE, 4), dtype)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    rows, columns = (slice(SIDE // 2 - side // 2, SIDE // 2 + side // 2) for side in shape)
    mask[rows, columns] = 255
    for number, level in enumerate(LEVELS.values()):
        image[rows, columns, number] = level * scale
    image[SIDE // 2 - 10 : SIDE // 2 + 10, SIDE // 2 - 15 : SIDE // 2 + 15, 2] = 240 * scale
    return cv2.imencode(".png", image)[1].tobytes(), cv2.imencode(".png", mask)[1].tobytes()


METADATA = """,cell_id,x1,y1,x2,y2,if_plate_id,position,sample,atlas_name,antibody,ensembl_ids,gene_names,locations
0,1.0,100,300,160,390,801,A6,1,U2OS,HPA000001,ENSG00000000001,AAA1,"Cytosol,Golgi apparatus"
1,2.0,0,10,60,100,801,A6,1,U2OS,HPA000001,ENSG00000000001,AAA1,"Cytosol,Golgi apparatus"
2,7.0,500,1958,560,2048,802.0,B1,2,A-431,HPA000002,"ENSG00000000002,ENSG00000000003","BBB2,BBB3",
3,,1,2,3,4,802,B1,2,A-431,HPA000002,ENSG00000000002,BBB2,
4,3.5,1,2,3,4,802,B1,2,A-431,HPA000002,ENSG00000000002,BBB2,
"""


@pytest.fixture
def collection():
    """A server with three cells, one of which is 16 bit and one of which lacks its mask."""
    files = {"/crops/metadata.csv": METADATA.encode()}
    for name, dtype in (("801/801_A6_1_1", np.uint8), ("801/801_A6_1_2", np.uint8), ("802/802_B1_2_7", np.uint16)):
        image, mask = published(dtype)
        files |= {f"/crops/{name}_cell_image.png": image, f"/crops/{name}_cell_mask.png": mask}
    del files["/crops/801/801_A6_1_2_cell_mask.png"]
    with serve(Site(files)) as site:
        yield site


def settings(site, **given):
    raw = {"datasets": {"crops": {"source": "subcell_crops", "address": f"{site.address}/crops", **given}}}
    return resolve(raw)["datasets"]["crops"]


def brought(tmp_path, site, **given):
    chosen, download = settings(site, **given), {"cache": str(tmp_path / "cache"), "pause_s": 0.01, "tries": 2}
    read_release(chosen, tmp_path / "release.parquet", tmp_path / "source.json", download=download, **QUIET)
    release = tmp_path / "release.parquet"
    list_fields("crops", chosen, [tmp_path / "0.parquet"], tmp_path / "aside.tsv", release=release, **QUIET)
    fields = read_fields(tmp_path / "0.parquet")
    fetch_images(fields, chosen, tmp_path / "images", release=release, download=download, **QUIET)
    return fields, chosen


def test_the_table_becomes_fields(tmp_path, collection):
    fields, chosen = brought(tmp_path, collection)
    first, second = fields.to_dict("records")
    assert (first["field_id"], first["plate"], first["well"], first["site"]) == ("801_A6_1", "801", "A6", "1")
    assert first["cell_line"] == "U-2 OS"
    assert first["locations"] == "Cytosol;Golgi apparatus"
    assert (second["field_id"], second["plate"], second["gene"]) == ("802_B1_2", "802", "BBB2;BBB3")
    assert second["locations"] is None
    terms = json.loads((tmp_path / "source.json").read_text())
    assert (terms["cells"], terms["rows_unreadable"]) == (3, 2)
    files = list(files_on_the_web(fields, chosen, release=tmp_path / "release.parquet"))
    assert len(files) == 6
    assert ("802_B1_2", f"{collection.address}/crops/802/802_B1_2_7_cell_image.png") in files


def test_a_cell_whose_file_is_missing_is_listed_and_the_others_are_kept(tmp_path, collection):
    brought(tmp_path, collection)
    ledger = read_ledger(tmp_path / "images")
    bad = ledger[ledger["status"] != "ok"]
    assert bad["channel"].tolist() == ["cell_mask"]
    assert "cell 2" in bad["reason"].iloc[0]
    assert "404" in bad["reason"].iloc[0]
    assert len(pd.read_parquet(tmp_path / "images" / "cells.parquet")) == 2


def test_crops_come_in_our_order_and_scale(tmp_path, collection):
    fields, _ = brought(tmp_path, collection)
    set_aside = import_crops(
        tmp_path / "images",
        fields,
        tmp_path / "crops.h5sc",
        tmp_path / "cells.parquet",
        tmp_path / "qc.parquet",
        field_um=SIDE * 0.0800885,
        pixels=SIDE // 2,
    )
    assert set_aside.empty
    store = CropStore(tmp_path / "crops.h5sc")
    assert list(store.obs.index) == ["801_A6_1:1", "802_B1_2:7"]
    small, deep = store.read(np.array([0]))[0], store.read(np.array([1]))[0]
    inside = (slice(SIDE // 4 - 12, SIDE // 4 - 8), slice(SIDE // 4 - 18, SIDE // 4 - 12))
    for plane, level in zip(small[2:], LEVELS.values(), strict=True):
        np.testing.assert_array_equal(plane[inside], level)
    np.testing.assert_array_equal(deep[5][inside], LEVELS["protein"] * 256)
    # A wide cell stays wide: rows are rows.
    rows, columns = np.nonzero(small[1])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (30, 45)
    assert store.obs["gene"].tolist() == ["AAA1", "BBB2;BBB3"]
    cells = pd.read_parquet(tmp_path / "cells.parquet")
    assert cells[["bbox_y0_px", "bbox_x0_px"]].to_numpy().tolist() == [[100, 300], [500, 1958]]
    assert cells["touches_border"].tolist() == [False, True]
    assert cells["cell_area_um2"].tolist() == pytest.approx([60 * 90 * 0.0800885**2] * 2)
    assert cells["nucleus_area_um2"].to_numpy() == pytest.approx(20 * 30 * 0.0800885**2, rel=0.05)
    assert pd.read_parquet(tmp_path / "qc.parquet")["status"].tolist() == ["ok", "ok"]


def test_without_cells_there_is_a_file_without_rows(tmp_path, collection):
    fields, _ = brought(tmp_path, collection, cell_lines=["U2OS"])
    outs = [tmp_path / name for name in ("crops.h5sc", "cells.parquet", "qc.parquet")]
    import_crops(tmp_path / "images", fields.iloc[:0], *outs)
    assert len(CropStore(outs[0]).obs) == 0


def test_files_that_are_no_crops_are_refused(tmp_path):
    image, mask = published()
    grey = cv2.imencode(".png", np.zeros((SIDE, SIDE), np.uint8))[1].tobytes()
    for name, data in {"image": image, "mask": mask, "grey": grey, "cut": image[:-40], "text": b"PNG"}.items():
        (tmp_path / name).write_bytes(data)
    read_crop(tmp_path / "image", tmp_path / "mask")
    for pair, message in (
        (("grey", "mask"), "expected four channels"),
        (("image", "grey"), "the mask is empty"),
        (("cut", "mask"), "damaged or cut off"),
        (("text", "mask"), "not a PNG"),
        (("none", "mask"), "cannot open"),
    ):
        with pytest.raises(ImageError, match=message):
            read_crop(*(tmp_path / name for name in pair))
    huge = bytearray(grey)
    huge[16:20] = (100_000).to_bytes(4, "big")
    (tmp_path / "huge").write_bytes(huge)
    with pytest.raises(ImageError, match="more than 4096 px"):
        read_rgba(tmp_path / "huge")


def test_a_cell_without_dna_has_no_nucleus():
    cell = np.ones((20, 20), bool)
    assert not nucleus_in(np.full((20, 20), 7, np.uint8), cell).any()


def test_a_table_without_its_columns_is_refused(tmp_path, collection):
    collection.files["/crops/metadata.csv"] = b"a,b\n1,2\n"
    with pytest.raises(SheetError, match="lacks the columns if_plate_id, position"):
        brought(tmp_path, collection)
