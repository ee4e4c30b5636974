"""Sheets of fields: what is read, what sets a row aside and what stops."""

import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subcell.catalog.fields import FIELD_COLUMNS
from subcell.catalog.sheet import read_sheet
from subcell.channels import CHANNELS
from subcell.errors import SheetError

REAL_FIELDS = Path(os.environ.get("SUBCELL_REAL_FIELDS", "nowhere"))
"""A folder with fields.csv and images as the Human Protein Atlas publishes them; tests of it are skipped without."""


def write(folder, text, name="fields.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def images(folder, *names):
    """Empty files with these names: a sheet looks whether they are there, not into them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def reasons(set_aside):
    return dict(zip(set_aside["row"], set_aside["reason"], strict=True))


def test_the_smallest_sheet(tmp_path):
    images(tmp_path, "a.png")
    fields, set_aside = read_sheet(write(tmp_path, "field_id,nucleus,pixel_size_um\nf1,a.png,0.08\n"))
    assert tuple(fields.columns) == FIELD_COLUMNS
    assert set_aside.empty
    row = fields.iloc[0]
    assert row["nucleus"] == str(tmp_path.resolve() / "a.png")
    assert (row["pixel_size_um"], row["pixel_size_source"]) == (0.08, "sheet")
    assert row.drop(["field_id", "shard", "nucleus", "pixel_size_um", "pixel_size_source"]).isna().all()


@pytest.mark.parametrize("name", ["fields.csv", "fields.tsv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_and_tsv_as_programs_write_them(tmp_path, name, encoding, newline):
    images(tmp_path, "ä 1.png")
    lines = [
        "Field_ID,Blue,Pixel_Size_um,gene,unused",
        '"<img src=x onerror=é>, 1", ä 1.png ,0.08,NA,x',
        ",,,,",
        "",
        "f2,ä 1.png,1e-1,Ö,",
    ]
    if name.endswith("tsv"):
        lines = [line.replace('"', "").replace("é>, 1", "é>; 1").replace(",", "\t").replace(";", ",") for line in lines]
    fields, set_aside = read_sheet(write(tmp_path, newline.join(lines), name, encoding))
    assert set_aside.empty
    assert fields["field_id"].tolist() == ["<img src=x onerror=é>, 1", "f2"]
    assert fields["gene"].tolist() == [None, "Ö"]
    assert fields["pixel_size_um"].tolist() == [0.08, 0.1]


def test_columns_defaults_and_colors(tmp_path):
    images(tmp_path, "r.png", "b.png", "m.png")
    sheet = "name,red,blue,mask,atlas_name,gene,locations,part\nf1,r.png,b.png,m.png,U2OS,G,Cytosol; Nuclei ;,val\n"
    sheet += "f2,,b.png,,,,,\n"
    fields, set_aside = read_sheet(
        write(tmp_path, sheet),
        columns={"field_id": "name", "reference_cells": "mask", "cell_line": "atlas_name", "split": "part"},
        defaults={"pixel_size_um": 0.32, "cell_line": "A-431"},
    )
    assert set_aside.empty
    assert fields["cell_line"].tolist() == ["U2OS", "A-431"]
    assert fields["pixel_size_source"].tolist() == ["config", "config"]
    assert fields["locations"].tolist() == ["Cytosol;Nuclei", None]
    assert fields["label_level"].tolist() == ["image", None]
    assert fields["split"].tolist() == ["valid", None]
    assert [Path(path).name for path in fields.loc[0, ["microtubules", "nucleus", "reference_cells"]]] == [
        "r.png",
        "b.png",
        "m.png",
    ]
    assert fields.loc[1, ["microtubules", "er", "protein", "reference_cells"]].isna().all()


def test_a_mapped_column_is_not_also_taken_for_its_color(tmp_path):
    images(tmp_path, "dna.png", "tubulin.png")
    sheet = write(tmp_path, "field_id,DNA,blue,pixel_size_um\nf,dna.png,tubulin.png,0.1\n")
    fields, _ = read_sheet(sheet, columns={"nucleus": "DNA", "red": "blue"})
    assert [Path(fields.loc[0, name]).name for name in ("nucleus", "microtubules")] == ["dna.png", "tubulin.png"]


def test_label_level_is_kept_where_the_sheet_has_it(tmp_path):
    images(tmp_path, "a.png")
    text = "field_id,blue,pixel_size_um,locations,label_level\na,a.png,1,X,gene\nb,a.png,1,X,\nc,a.png,1,X,plate\n"
    fields, set_aside = read_sheet(write(tmp_path, text))
    assert fields["label_level"].tolist() == ["gene", None]
    assert "label_level is 'plate'" in reasons(set_aside)[4]


def test_controls_are_negative_positive_or_nothing_in_any_case(tmp_path):
    images(tmp_path, "a.png")
    values = ["Negative", "POSITIVE", "", "NA", "DMSO", "TRUE"]
    rows = [f"f{number},a.png,1,{value}" for number, value in enumerate(values)]
    fields, set_aside = read_sheet(write(tmp_path, "\n".join(["field_id,blue,pixel_size_um,Control", *rows])))
    assert fields["control"].tolist() == ["negative", "positive", None, None]
    assert reasons(set_aside) == {
        6: "control is 'DMSO'; expected negative, positive or nothing",
        7: "control is 'TRUE'; expected negative, positive or nothing",
    }
    with pytest.raises(SheetError, match="defaults: control is 'untreated'; expected negative, positive or nothing"):
        read_sheet(tmp_path / "fields.csv", defaults={"control": "untreated"})


def test_several_names_in_a_cell_and_their_spelling(tmp_path):
    images(tmp_path, "a.png")
    sheet = write(
        tmp_path,
        "field_id\tblue\tpixel_size_um\tlocations\tgene\n"
        "f1\ta.png\t1\tcytosol,Golgi Apparatus; Cytosol,\tA, B;C\n"
        "f2\ta.png\t1\tmy place;negative\tA\n"
        "f3\ta.png\t1\t,;\t,\n",
        name="fields.tsv",
    )
    fields, _ = read_sheet(sheet)
    assert fields["locations"].tolist() == ["Cytosol;Golgi apparatus", "My place;Negative", None]
    assert fields["gene"].tolist() == ["A;B;C", "A", None]


def test_file_patterns_fill_the_channels_that_have_no_column(tmp_path):
    images(tmp_path, "f1_blue.png", "f1_green.png", "other.tif", "f2_green.png", "f3_blue.png")
    sheet = write(tmp_path, "field_id,er,pixel_size_um\nf1,other.tif#c=1,0.1\nf2,,0.1\nf3,,0.1\nf4,,0.1\n")
    fields, set_aside = read_sheet(sheet, file_pattern="{field_id}_{color}.png")
    assert fields["field_id"].tolist() == ["f1", "f3"]
    names = [
        None if path is None else Path(path).name
        for path in fields.loc[0, ["microtubules", "er", "nucleus", "protein"]]
    ]
    assert names == [None, "other.tif#c=1", "f1_blue.png", "f1_green.png"]
    assert fields.loc[1, ["er", "protein"]].isna().all()
    assert "missing file 'f2_blue.png'" in reasons(set_aside)[3]
    assert "missing files 'f4_red.png'" in reasons(set_aside)[5]


@pytest.mark.parametrize("stains", [("nucleus",), ("er", "nucleus", "protein")])
def test_a_pattern_that_finds_nothing_refuses_no_field_whose_nucleus_has_a_column(tmp_path, stains):
    images(tmp_path, "f1.ome.tif")
    paths = [f"f1.ome.tif#c={number}" for number in range(len(stains))]
    sheet = write(tmp_path, f"field_id,pixel_size_um,{','.join(stains)}\nf1,0.1,{','.join(paths)}\n")
    fields, set_aside = read_sheet(sheet, file_pattern="{field_id}_{color}.png")
    assert set_aside.empty
    found = fields.loc[0, list(CHANNELS)].dropna()
    assert {name: Path(path).name for name, path in found.items()} == dict(zip(stains, paths, strict=True))
    # A row whose own cell of the nucleus is empty is refused all the same.
    sheet = write(tmp_path, "field_id,pixel_size_um,er,nucleus\nf1,0.1,f1.ome.tif#c=1,\n")
    assert "no nucleus channel" in reasons(read_sheet(sheet, file_pattern="{field_id}_{color}.png")[1])[2]


def test_file_patterns_use_any_column_and_folders(tmp_path):
    images(tmp_path, "p1/A1_s2_nucleus.tif")
    sheet = write(
        tmp_path, "field_id,Plate_No,well,snap,pixel_size_um\nf1,p1,A1,s2,0.1\nf2,..,A1,s2,0.1\nf3,p1,,s2,0.1\n"
    )
    fields, set_aside = read_sheet(
        sheet, columns={"plate": "Plate_No"}, file_pattern="{plate}/{well}_{snap}_{channel}.tif"
    )
    assert fields["field_id"].tolist() == ["f1"]
    assert "leads out of the sheet's folder" in reasons(set_aside)[3]
    assert "file_pattern needs well" in reasons(set_aside)[4]


def test_file_pattern_on_the_web(tmp_path):
    sheet = write(tmp_path, "field_id,pixel_size_um\n7_A1_1,0.08\n")
    fields, _ = read_sheet(sheet, file_pattern="https://images.example.org/{field_id}_{color}.jpg")
    assert fields.loc[0, "er"] == "https://images.example.org/7_A1_1_yellow.jpg"


def test_paths_may_not_leave_the_folder(tmp_path):
    folder = tmp_path / "sheet"
    images(tmp_path, "sheet/in/a.png", "secret.png", "sheet2/b.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    (folder / "inside.png").symlink_to("in/a.png")
    paths = [
        *("in/a.png", "in/../in/a.png", "inside.png", str(folder / "in/a.png")),
        *(
            "../secret.png",
            "in/../../secret.png",
            "link.png",
            "up/secret.png",
            str(tmp_path / "secret.png"),
            "../sheet2/b.png",
        ),
    ]
    text = "field_id,nucleus,pixel_size_um\n" + "".join(f"f{number},{path},1\n" for number, path in enumerate(paths))
    sheet = write(folder, text)
    fields, set_aside = read_sheet(sheet)
    assert set(fields["nucleus"]) == {str(tmp_path.resolve() / "sheet/in/a.png")}
    assert fields["field_id"].tolist() == ["f0", "f1", "f2", "f3"]
    assert set_aside["row"].tolist() == [6, 7, 8, 9, 10, 11]
    assert set_aside["reason"].str.contains("leads out of the sheet's folder").all()
    fields, set_aside = read_sheet(sheet, allow_outside=True)
    assert len(fields) == len(paths)
    assert set_aside.empty


def test_rows_that_cannot_be_used_are_set_aside_with_every_reason(tmp_path):
    images(tmp_path, "a.png")
    rows = {
        "no file,gone.png,0.1": "nucleus: missing file 'gone.png'",
        "folder,.,0.1": "missing file '.'",
        "zero,a.png,0": "pixel_size_um is '0'",
        "negative,a.png,-1": "pixel_size_um is '-1'",
        "huge,a.png,11": "expected micrometres from 0.01 to 10",
        "metres,a.png,3.2e-7": "metres? then write 0.32",
        "millimetres,a.png,3.2e-4": "millimetres? then write 0.32",
        "nanometres,a.png,320": "nanometres? then write 0.32",
        "tiny,a.png,1e-320": "pixel_size_um is '1e-320'",
        "word,a.png,about 1": "pixel_size_um is 'about 1'",
        "nan,a.png,NaN": "pixel_size_um is missing",
        "infinite,a.png,inf": "pixel_size_um is 'inf'",
        ",a.png,0.1": "field_id is empty",
        "no nucleus,,0.1": "no nucleus channel",
        "scheme,ftp://host/a.png,0.1": "not ftp",
        "file scheme,file:///etc/passwd,0.1": "not file",
        "plane,a.png#q=1,0.1": "plane 'q=1'",
        "a/b,a.png,0.1": "SOLIDUS (U+002F)",
        "a\\b,a.png,0.1": "U+005C",
        "bell\a,a.png,0.1": "U+0007",
        '"two\nlines",a.png,0.1': "U+000A",
        "nul\0,a.png,0.1": "U+0000",
        "nul path,a\0.png,0.1": "is not a path",
        "a/c,gone.png,0": "field_id holds",
    }
    sheet = write(tmp_path, "field_id,nucleus,pixel_size_um\n" + "\n".join(rows) + "\ngood <i>名,a.png#z=max,0.1\n")
    fields, set_aside = read_sheet(sheet)
    assert fields["field_id"].tolist() == ["good <i>名"]
    assert fields.loc[0, "nucleus"].endswith("a.png#z=max")
    assert set_aside["row"].tolist() == list(range(2, len(rows) + 2))
    assert set(set_aside["stage"]) == {"sheet"}
    for (row, expected), reason in zip(rows.items(), set_aside["reason"], strict=True):
        assert expected in reason, row
    last = set_aside["reason"].iloc[-1]
    assert all(part in last for part in ("SOLIDUS", "missing file", "pixel_size_um is '0'"))


def test_problems_of_the_whole_sheet_are_listed_together(tmp_path):
    images(tmp_path, "a.png")
    sheet = write(tmp_path, "field,gene,pixelsize_um\nx,a,1\n")
    with pytest.raises(SheetError) as caught:
        read_sheet(sheet, columns={"genes": "gene", "well": "Well"}, defaults={"plates": "1", "split": "dev"})
    message = str(caught.value)
    for part in (
        str(sheet),
        "'genes' is not a column here; did you mean 'gene'?",
        "well is to be read from 'Well', which the sheet lacks",
        "'plates' cannot have a default; did you mean 'plate'?",
        "split is 'dev'",
        "column field_id is missing; did you mean 'field'?",
        "column pixel_size_um is missing and there is no default for it; did you mean 'pixelsize_um'?",
        "no column with paths",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf\r\n", "empty"),
        (b"field_id,blue,pixel_size_um\n", "no rows below the header"),
        (b"field_id,blue,pixel_size_um\n,,\n", "no rows below the header"),
        (b"field_id,blue,pixel_size_um\na,x,1\nb,x,1\na,x,1\nb,x,1\n", "'a' in rows 2, 4, 'b' in rows 3, 5"),
        (b"field_id,red,pixel_size_um\na,x,1\n", "column nucleus (or blue) is missing"),
        (b"field_id,blue,pixel_size_um\na,\xe4.png,1\nb,x,1\nc,\xff,1\n", "not utf-8 in line 2, 4"),
        ("field_id,blue,pixel_size_um\n".encode("utf-16"), "not utf-8"),
        (b'field_id,blue,pixel_size_um\na,"x,1\n', "row 2 cannot be parsed"),
        (b'field_id,blue,pixel_size_um\na,"x"y,1\n', "row 2 cannot be parsed"),
        (b"field_id,blue,pixel_size_um\na,x\nb,x,1,2\nc,x,1,\n", "not these rows: 2 (2), 3 (4)"),
        (b"field_id;blue;pixel_size_um\na;x;1\n", "one cell with ';' in it; .csv must be separated by commas"),
        (b"field_id,blue,blue,,pixel_size_um\na,x,x,x,1\n", "column 'blue' occurs 2 times\n  - a column has no name"),
    ],
)
def test_sheets_that_cannot_be_read_at_all(tmp_path, content, message):
    (tmp_path / "fields.csv").write_bytes(content)
    with pytest.raises(SheetError) as caught:
        read_sheet(tmp_path / "fields.csv")
    assert message in str(caught.value)


def test_a_sheet_that_is_not_there(tmp_path):
    for path in (tmp_path / "fields.csv", tmp_path):
        with pytest.raises(SheetError, match="cannot open the sheet"):
            read_sheet(path)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{field_id}.png", "needs {color} or {channel}"),
        ("{fieldid}_{color}.png", "no column 'fieldid'; did you mean 'field_id'?"),
        ("{field_id.__class__}_{color}.png", "only plain column names"),
        ("{field_id!r}_{color}.png", "only plain column names"),
        ("{field_id:>9}_{color}.png", "only plain column names"),
        ("{}_{color}.png", "only plain column names"),
        ("{field_id_{color}.png", "file_pattern"),
    ],
)
def test_file_patterns_that_mean_nothing(tmp_path, pattern, message):
    sheet = write(tmp_path, "field_id,pixel_size_um\na,1\n")
    with pytest.raises(SheetError) as caught:
        read_sheet(sheet, file_pattern=pattern)
    assert message in str(caught.value)


cell = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.tuples(cell, cell, cell), max_size=6), tab=st.booleans())
def test_every_row_of_any_sheet_is_read_or_set_aside(tmp_path_factory, rows, tab):
    folder = tmp_path_factory.mktemp("sheet")
    table = pd.DataFrame([*rows, ("f", "a.png", "0.1")], columns=["field_id", "nucleus", "pixel_size_um"])
    path = folder / ("fields.tsv" if tab else "fields.csv")
    table.to_csv(path, index=False, sep="\t" if tab else ",", lineterminator="\n")
    images(folder, "a.png")
    try:
        fields, set_aside = read_sheet(path)
    except SheetError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is right
        return
    blank = sum(not any(value.strip() for value in row) for row in rows)
    assert len(fields) + len(set_aside) == len(table) - blank
    assert "f" in set(fields["field_id"])
    assert all(field_id.isprintable() and "/" not in field_id for field_id in fields["field_id"])
    assert fields["pixel_size_um"].between(0, 10, inclusive="right").all()
    assert (set_aside["reason"] != "").all()


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200) | cell.map(str.encode), pattern=cell)
def test_any_bytes_and_any_pattern_are_read_or_refused(tmp_path_factory, content, pattern):
    path = tmp_path_factory.mktemp("bytes") / "fields.csv"
    path.write_bytes(b"field_id,pixel_size_um\na,0.1\n" + content)
    try:
        fields, set_aside = read_sheet(path, file_pattern=pattern)
    except SheetError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is right
        return
    assert len(fields) + len(set_aside) >= 1


@pytest.mark.skipif(not REAL_FIELDS.is_dir(), reason="set SUBCELL_REAL_FIELDS to a folder of HPA fields")
def test_real_hpa_fields():
    fields, set_aside = read_sheet(
        REAL_FIELDS / "fields.csv",
        file_pattern="{field_id}_{color}.png",
        columns={"reference_cells": "cell_mask", "split": "subcell_split"},
    )
    assert set_aside.empty
    assert len(fields) == 80
    assert fields[["microtubules", "er", "nucleus", "protein"]].notna().all(axis=None)
    assert fields["reference_cells"].notna().sum() == 3
    assert fields["label_level"].eq("image").all()
    assert fields.set_index("field_id").loc["hpa_800_A6_1", ["gene", "antibody", "split"]].tolist() == [
        "CCNB1",
        "HPA030741",
        "train",
    ]
