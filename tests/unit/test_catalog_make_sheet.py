"""Sheets made from a folder of images."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from subcell.catalog.make_sheet import compile_pattern, make_sheet
from subcell.catalog.pixel_size import ome_pixel_size_um
from subcell.catalog.sheet import read_sheet
from subcell.channels import CHANNELS, COLORS
from subcell.config.check import resolve
from subcell.errors import SheetError


def images(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("name", ["fields.csv", "fields.tsv"])
def test_plate_well_site_and_color(tmp_path, name):
    images(tmp_path, "800_A6_1_blue.tif", "800_A6_1_red.tif", "800_A6_2_blue.tif", "800_A6_2_pink.tif", "notes.txt")
    fields = make_sheet(tmp_path, "{plate}_{well}_{site}_{color}.tif", tmp_path / name, pixel_size_um=0.08)
    assert fields["field_id"].tolist() == ["800_A6_1", "800_A6_2"]
    assert fields.loc[0, ["plate", "well", "site"]].tolist() == ["800", "A6", "1"]
    assert fields.loc[0, "microtubules"] == str(tmp_path.resolve() / "800_A6_1_red.tif")
    assert fields.loc[1, ["microtubules", "er", "protein"]].isna().all()
    assert fields["pixel_size_um"].tolist() == [0.08, 0.08]
    again, set_aside = read_sheet(tmp_path / name)
    assert again.equals(fields)
    assert set_aside.empty
    assert not list(tmp_path.glob(".*"))


def test_folders_channels_and_a_sheet_above_the_images(tmp_path):
    images(tmp_path, "raw/p1/A1 nucleus.png", "raw/p1/A1 ch2.png", "raw/p1/A1 reference_cells.png", "raw/A1 er.png")
    images(tmp_path, "raw/p1/deep/A1 er.png")
    fields = make_sheet(
        tmp_path / "raw",
        "{plate}/{well} {channel}.png",
        tmp_path / "fields.csv",
        pixel_size_um=1,
        channels={"ch2": "protein"},
    )
    assert fields["field_id"].tolist() == ["p1_A1"]
    found = {name: Path(fields.loc[0, name]).name for name in ("nucleus", "protein", "reference_cells")}
    assert found == {"nucleus": "A1 nucleus.png", "protein": "A1 ch2.png", "reference_cells": "A1 reference_cells.png"}
    assert fields.loc[0, "er"] is None


@pytest.mark.parametrize("place", ["color", "channel"])
def test_names_of_a_microscope_are_given_in_the_configuration(tmp_path, place):
    images(tmp_path, "A01_w1DAPI.ome.tif", "A01_w2GFP.ome.tif", "A01_w3Cy5.ome.tif")
    wanted = {"pattern": f"{{well}}_{{{place}}}.ome.tif", "channels": {"w1DAPI": "nucleus", "w2GFP": "protein"}}
    chosen = resolve({"datasets": {"demo": {"source": "simulate"}}, "make_sheet": wanted})["make_sheet"]
    chosen |= {"folder": tmp_path, "pixel_size_um": 0.1}
    fields = make_sheet(out=tmp_path / "fields.csv", **{key: chosen[key] for key in chosen if key != "output"})
    found = fields.loc[0, list(CHANNELS)].dropna()
    assert {name: Path(path).name for name, path in found.items()} == {
        "nucleus": "A01_w1DAPI.ome.tif",
        "protein": "A01_w2GFP.ome.tif",
    }


@pytest.mark.parametrize("pattern", ["{well}_{channel}.ome.tif", "{well}.ome.tif"])
def test_what_to_do_with_other_names_and_files_of_several_channels_is_said(tmp_path, pattern):
    images(tmp_path, "A01_DAPI.ome.tif")
    with pytest.raises(SheetError) as caught:
        make_sheet(tmp_path, pattern, tmp_path / "fields.csv", pixel_size_um=1)
    assert "file.ome.tif#c=0" in str(caught.value)
    assert ("channels: {DAPI: nucleus}" in str(caught.value)) == ("{channel}" in pattern)


def test_ids_may_hold_separators(tmp_path):
    images(tmp_path, "a_b_blue_1_blue.png", "a_b_blue_1_green.png")
    fields = make_sheet(tmp_path, "{field_id}_{color}.png", tmp_path / "fields.csv", pixel_size_um=1)
    assert fields["field_id"].tolist() == ["a_b_blue_1"]


def test_repeated_parts_must_agree(tmp_path):
    images(tmp_path, "p1/p1_A1_blue.png", "p2/p1_A2_blue.png")
    fields = make_sheet(tmp_path, "{plate}/{plate}_{well}_{color}.png", tmp_path / "fields.csv", pixel_size_um=1)
    assert fields["field_id"].tolist() == ["p1_A1"]


def test_pixel_size_from_ome_metadata(tmp_path):
    image = np.zeros((20, 20), np.uint8)
    for name, size, unit in (("a", 0.1625, "µm"), ("b", 80, "nm")):
        metadata = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size}
        metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
        tifffile.imwrite(tmp_path / f"{name}_blue.ome.tif", image, metadata=metadata)
    fields = make_sheet(tmp_path, "{field_id}_{color}.ome.tif", tmp_path / "fields.csv")
    assert fields["pixel_size_um"].tolist() == pytest.approx([0.1625, 0.08])
    assert fields["pixel_size_source"].tolist() == ["OME metadata"] * 2
    tifffile.imwrite(tmp_path / "c_blue.ome.tif", image, metadata={"axes": "YX"})
    with pytest.raises(SheetError, match="the files of c do not say their pixel size; give pixel_size_um"):
        make_sheet(tmp_path, "{field_id}_{color}.ome.tif", tmp_path / "other.csv")
    metadata = {"axes": "YX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.3}
    tifffile.imwrite(tmp_path / "c_blue.ome.tif", image, metadata=metadata)
    with pytest.raises(SheetError, match="not square"):
        ome_pixel_size_um(tmp_path / "c_blue.ome.tif")
    (tmp_path / "d.tif").write_bytes(b"II*\0 no tiff")
    assert ome_pixel_size_um(tmp_path / "d.tif") is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{plate}_{well}_{site}_{color}.png", "no file matches.*2 .tif.*for example 'a_b_A1_blue.tif'"),
        ("{plate}/{well}_{color}.tif", "none at the pattern's depth"),
        ("{plate}_{well}_{color}.tif", "matches in more than one way"),
        ("{plate}_{color}", "no file matches"),
        ("{field_id}.tif", "needs either {color} or {channel}"),
        ("{color}.tif", "columns that tell fields apart"),
        ("{field_id}_{color}_{channel}.tif", "needs either"),
        ("{plat}_{color}.tif", "'plat' is no column of a sheet; did you mean 'plate'"),
        ("{field_id}_{color!r}.tif", "only plain column names"),
        ("{field_id_{color}.tif", "pattern"),
        ("{field_id}_b_A1_{color}.tif", "no nucleus"),
    ],
)
def test_patterns_that_do_not_fit(tmp_path, pattern, message):
    images(tmp_path, "a_b_A1_blue.tif" if "no nucleus" not in message else "a_b_A1_green.tif", "c_b_A1_red.tif")
    with pytest.raises(SheetError, match=message):
        make_sheet(tmp_path, pattern, tmp_path / "fields.csv", pixel_size_um=1)
    assert not list(tmp_path.glob("*.csv"))


def test_two_files_for_one_channel_and_two_fields_for_one_id(tmp_path):
    images(tmp_path, "f_DAPI.png", "f_nucleus.png", "g_nucleus.png")
    with pytest.raises(SheetError, match=r"nucleus of field 'f' is claimed by 'f_DAPI\.png' and 'f_nucleus\.png'"):
        make_sheet(
            tmp_path, "{field_id}_{channel}.png", tmp_path / "s.csv", pixel_size_um=1, channels={"DAPI": "nucleus"}
        )
    images(tmp_path, "x/a_b-c-blue.tif", "x/a-b_c-blue.tif")
    with pytest.raises(SheetError, match="field_id 'a_b_c' stands for two fields"):
        make_sheet(tmp_path / "x", "{plate}-{well}-{color}.tif", tmp_path / "s.csv", pixel_size_um=1)


def test_places_that_do_not_fit(tmp_path):
    images(tmp_path, "in/f_blue.png")
    (tmp_path / "in" / "old.csv").write_text("mine")
    with pytest.raises(SheetError, match="exists already"):
        make_sheet(tmp_path / "in", "{field_id}_{color}.png", tmp_path / "in" / "old.csv", pixel_size_um=1)
    assert (tmp_path / "in" / "old.csv").read_text() == "mine"
    with pytest.raises(SheetError, match="must lie in"):
        make_sheet(tmp_path / "in", "{field_id}_{color}.png", tmp_path / "elsewhere" / "s.csv", pixel_size_um=1)
    with pytest.raises(SheetError, match="no such folder"):
        make_sheet(tmp_path / "out", "{field_id}_{color}.png", tmp_path / "s.csv", pixel_size_um=1)


part = st.text(st.sampled_from("ab1_-. é<"), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(plate=part, well=part, color=st.sampled_from(list(COLORS)), separator=st.sampled_from("_-./ +("))
def test_a_name_is_read_in_its_one_way_or_known_to_have_several(plate, well, color, separator):
    lazy, greedy, columns = compile_pattern(f"{{plate}}{separator}{{well}}{separator}{{color}}.tif", {})
    name = f"{plate}{separator}{well}{separator}{color}.tif"
    assert columns == ["plate", "well"]
    # All ways to cut the middle into plate, separator and well.
    middle = f"{plate}{separator}{well}"
    ways = [at for at in range(1, len(middle) - 1) if middle[at] == separator]
    first, last = lazy.fullmatch(name), greedy.fullmatch(name)
    assert (first.groupdict() == last.groupdict()) == (len(ways) == 1)
    if len(ways) == 1:
        assert first.groupdict() == {"plate": plate, "well": well, "color": color}
