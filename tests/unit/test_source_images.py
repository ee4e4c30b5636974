"""Linking and fetching the images of a sheet."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from faulty_server import Site, serve
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from subcell.catalog.fields import as_fields, read_fields
from subcell.catalog.sheet import read_sheet
from subcell.config.check import resolve
from subcell.errors import ImageError, SubcellError
from subcell.imaging.read import read_field, read_labels, read_ledger
from subcell.sources import downloader_of, list_fields
from subcell.sources.images import link_images, safe_name

REAL_FIELDS = Path(os.environ.get("SUBCELL_REAL_FIELDS", "nowhere"))
"""A folder with fields.csv and images as the Human Protein Atlas publishes them; tests of it are skipped without."""


def picture(seed=0, shape=(24, 32)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@given(st.text(), st.text())
def test_names_are_safe_and_different(one, other):
    for name in (safe_name(one), safe_name(other)):
        assert name.isascii()
        assert not set(name) & set("/\\. :\0")
        assert len(name) < 100
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_local_files_are_linked_and_hashed(tmp_path):
    Image.fromarray(picture(1)).save(tmp_path / "dna.png")
    tifffile.imwrite(tmp_path / "rest.ome.tif", np.stack([picture(2), picture(3)]), metadata={"axes": "CYX"})
    field_id = "../<img src=x>é"
    rest = f"{tmp_path}/rest.ome.tif"
    fields = as_fields(
        pd.DataFrame(
            [{"field_id": field_id, "nucleus": f"{tmp_path}/dna.png", "er": f"{rest}#c=0", "protein": f"{rest}#c=1"}]
        )
    )
    seen = []
    ledger, set_aside = link_images(
        fields, tmp_path / "images" / "0", progress=lambda items: seen.extend(items) or items
    )
    assert len(seen) == 1
    assert set_aside.empty
    assert read_ledger(tmp_path / "images" / "0").equals(ledger)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["0"]
    assert len(list((tmp_path / "images" / "0").iterdir())) == 3
    row = ledger.set_index("channel").loc["nucleus"]
    assert row["sha256"] == hashlib.sha256((tmp_path / "dna.png").read_bytes()).hexdigest()
    assert row["bytes"] == (tmp_path / "dna.png").stat().st_size
    image, present = read_field(tmp_path / "images" / "0", ledger, field_id)
    assert present == ("er", "nucleus", "protein")
    np.testing.assert_array_equal(image, [np.zeros_like(picture()), picture(2), picture(1), picture(3)])


def test_an_image_that_was_exported_again_is_noticed(tmp_path, monkeypatch):
    paths = {channel: tmp_path / f"{channel}.tif" for channel in ("nucleus", "reference_cells")}
    for seed, path in enumerate(paths.values()):
        tifffile.imwrite(path, picture(seed))
    images = tmp_path / "images" / "0000"
    listed = {"field_id": "f", **{channel: str(path) for channel, path in paths.items()}}
    link_images(as_fields(pd.DataFrame([listed])), images)
    ledger = read_ledger(images)

    def read():
        return read_field(images, ledger, "f")[0][2]

    with monkeypatch.context() as patch:
        patch.setattr("subcell.imaging.ledger.sha256_of", lambda path: pytest.fail(f"{path} was read twice"))
        np.testing.assert_array_equal(read(), picture(0))
    # The same file with another time, as a copy of it has.
    os.utime(paths["nucleus"], (1, 1))
    np.testing.assert_array_equal(read(), picture(0))
    tifffile.imwrite(paths["nucleus"], picture(5))
    assert paths["nucleus"].stat().st_size == ledger["bytes"][0]
    changed = rf"nucleus\.tif: changed since it was listed.*delete {images} and run again"
    with pytest.raises(SubcellError, match=changed) as caught:
        read()
    assert caught.type is SubcellError, "an ImageError would set the field aside"
    # Of a former version, whose ledger says no time, nothing is known.
    of_old = pd.read_csv(images / "ledger.tsv", sep="\t").drop(columns="modified_ns")
    of_old.to_csv(images / "ledger.tsv", sep="\t", index=False)
    np.testing.assert_array_equal(read_field(images, read_ledger(images), "f")[0][2], picture(5))
    tifffile.imwrite(paths["reference_cells"], picture(1, (30, 32)))
    with pytest.raises(SubcellError, match=r"reference_cells\.tif: changed since"):
        read_labels(images, ledger, "f", "reference_cells")
    paths["nucleus"].unlink()
    with pytest.raises(ImageError, match="cannot open"):
        read()


def test_a_file_that_is_gone_sets_its_field_aside_and_no_other(tmp_path):
    for name in ("a", "b"):
        Image.fromarray(picture()).save(tmp_path / f"{name}.png")
    (tmp_path / "text.png").write_text("not an image")
    rows = [
        {"field_id": "whole", "nucleus": f"{tmp_path}/a.png"},
        {"field_id": "gone", "nucleus": f"{tmp_path}/b.png", "er": f"{tmp_path}/vanished.png"},
        {"field_id": "text", "nucleus": f"{tmp_path}/text.png"},
    ]
    ledger, set_aside = link_images(as_fields(pd.DataFrame(rows)), tmp_path / "out")
    assert set_aside["field_id"].tolist() == ["gone", "text"]
    assert set_aside["stage"].tolist() == ["download", "download"]
    assert "vanished.png: cannot open (No such file" in set_aside["reason"][0]
    assert "neither PNG, JPEG nor TIFF" in set_aside["reason"][1]
    status = ledger.groupby("field_id")["status"].agg(set).to_dict()
    assert status == {"whole": {"ok"}, "gone": {"set aside"}, "text": {"set aside"}}
    with pytest.raises(ImageError, match="none of the channels"):
        read_field(tmp_path / "out", ledger, "gone")


def test_a_folder_of_an_earlier_run_is_replaced_and_a_foreign_one_kept(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    fields = as_fields(pd.DataFrame([{"field_id": "a", "nucleus": f"{tmp_path}/a.png"}]))
    link_images(fields, tmp_path / "out")
    ledger, _ = link_images(fields.iloc[:0], tmp_path / "out")
    assert ledger.empty
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ledger.tsv"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("text")
    with pytest.raises(OSError, match="not empty"):
        link_images(fields, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_files_on_the_web_are_fetched_once_and_linked(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(picture(7)).save(buffer, "PNG")
    body = buffer.getvalue()
    broken = body[:60] + bytes(len(body) - 60)
    site = Site({"/ok.png": body, "/broken.png": broken, "/text.png": b"not an image, for sure"})
    with serve(site):
        url = site.address
        rows = [
            {"field_id": "ok", "nucleus": f"{url}/ok.png", "protein": f"{url}/ok.png"},
            {"field_id": "broken", "nucleus": f"{url}/broken.png"},
            {"field_id": "gone", "nucleus": f"{url}/ok.png", "er": f"{url}/gone.png"},
            {"field_id": "text", "nucleus": f"{url}/text.png"},
        ]
        fields = as_fields(pd.DataFrame(rows))
        settings = {"cache": str(tmp_path / "cache"), "pause_s": 0.01, "connections": 1}
        downloader = downloader_of(settings, log=lambda text: None)
        ledger, set_aside = link_images(fields, tmp_path / "out", downloader=downloader)
        link_images(fields.iloc[:1], tmp_path / "other", downloader=downloader)
    assert set_aside["field_id"].tolist() == ["broken", "gone", "text"]
    assert "what the server sent cannot be used" in set_aside["reason"][0]
    assert "the server answers 404" in set_aside["reason"][1]
    assert "neither PNG, JPEG nor TIFF" in set_aside["reason"][2]
    # A damaged file is tried three times, one that is there never again.
    assert site.paths().count("/ok.png") == 1
    assert site.paths().count("/broken.png") == 3
    image, present = read_field(tmp_path / "out", ledger, "ok")
    assert present == ("nucleus", "protein")
    np.testing.assert_array_equal(image[2], picture(7))
    assert ledger["url"].iloc[0] == f"{url}/ok.png"
    linked = tmp_path / "out" / ledger["file"].iloc[0]
    assert linked.stat().st_ino == downloader.cache.path(f"{url}/ok.png").stat().st_ino


@pytest.mark.skipif(not REAL_FIELDS.is_dir(), reason="set SUBCELL_REAL_FIELDS to a folder of HPA fields")
def test_real_hpa_fields_from_sheet_to_pixels(tmp_path):
    fields, _ = read_sheet(
        REAL_FIELDS / "fields.csv", file_pattern="{field_id}_{color}.png", columns={"reference_cells": "cell_mask"}
    )
    some = fields[fields["field_id"].str.startswith("hpa_") | fields["reference_cells"].notna()].head(4)
    ledger, set_aside = link_images(some, tmp_path / "images")
    assert set_aside.empty
    for field_id, size, mask in zip(some["field_id"], (2048, 2048, 2048, 2048), some["reference_cells"], strict=True):
        image, present = read_field(tmp_path / "images", ledger, field_id)
        assert image.shape == (4, size, size)
        assert image.dtype == np.uint8
        assert present == ("microtubules", "er", "nucleus", "protein")
        labels = read_labels(tmp_path / "images", ledger, field_id, "reference_cells")
        assert (labels is None) == (mask is None)
        assert labels is None or labels.max() >= 10


def test_a_stain_stands_in_for_a_channel(tmp_path):
    for name in ("dna", "actin", "protein"):
        Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / f"{name}.png")
    (tmp_path / "fields.csv").write_text(
        "field_id,pixel_size_um,blue,actin,green\nf,0.1,dna.png,actin.png,protein.png\n"
    )
    settings = resolve(
        {
            "datasets": {
                "own": {
                    "source": "images",
                    "sheet": str(tmp_path / "fields.csv"),
                    "channel_map": {"microtubules": "actin"},
                }
            }
        }
    )["datasets"]["own"]
    list_fields("own", settings, [tmp_path / "0.parquet"], tmp_path / "aside.tsv", log=lambda line: None)
    fields = read_fields(tmp_path / "0.parquet")
    assert fields["microtubules"].tolist() == [str(tmp_path / "actin.png")]
    assert fields["er"].isna().all()
