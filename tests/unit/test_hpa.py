"""The Human Protein Atlas as a source: its files, what is selected from them, and the plan of a download."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from faulty_server import Site, serve
from hpa_release import (
    HOST,
    LOCATION_TABLE,
    antibody,
    data,
    entry,
    packed,
    release,
    small_release,
    zipped,
)
from hypothesis import given
from hypothesis import strategies as st

from subcell.catalog.fields import read_fields
from subcell.catalog.names import cell_line_name, location_name, match_names, tissue_of
from subcell.catalog.splits import read_antibody_ids
from subcell.config.check import resolve
from subcell.errors import NothingLeftError, SheetError
from subcell.sources import downloader_of, files_on_the_web, list_fields, read_release
from subcell.sources.download import Cache
from subcell.sources.hpa.entries import IMAGE_COLUMNS, read_entries
from subcell.sources.hpa.releases import Release, read_location_table
from subcell.sources.plan import describe_plans, plan_download
from subcell.sources.selection import Selection, select_fields

SHARED = Path(os.environ.get("SUBCELL_SHARED", "nowhere"))
needs_shared = pytest.mark.skipif(
    not (SHARED / "data/references").is_dir(), reason="set SUBCELL_SHARED to a folder with data/references"
)
QUIET = {"log": lambda text: None}


def settings(tmp_path=None, **given):
    raw = {"datasets": {"atlas": {"source": "hpa", "release": "v18", **given}}}
    return resolve(raw)["datasets"]["atlas"]


def listed(tmp_path, xml, table=LOCATION_TABLE, shards=1, **given):
    """Fields of a release that lies on disk."""
    (tmp_path / "atlas.xml").write_bytes(xml)
    (tmp_path / "locations.tsv").write_text(table)
    chosen = settings(xml=str(tmp_path / "atlas.xml"), location_table=str(tmp_path / "locations.tsv"), **given)
    cache = {"cache": str(tmp_path / "cache")}
    read_release(chosen, tmp_path / "release.parquet", tmp_path / "source.json", download=cache, **QUIET)
    outs = [tmp_path / f"{shard}.parquet" for shard in range(shards)]
    list_fields("atlas", chosen, outs, tmp_path / "aside.tsv", release=tmp_path / "release.parquet", **QUIET)
    return read_fields(outs).sort_values("field_id").set_index("field_id"), pd.read_csv(
        tmp_path / "aside.tsv", sep="\t"
    )


def test_every_image_of_every_antibody_is_read(tmp_path):
    (tmp_path / "atlas.xml.gz").write_bytes(packed(small_release()))
    images = read_entries(tmp_path / "atlas.xml.gz", **QUIET)
    assert tuple(images.columns) == IMAGE_COLUMNS
    assert images["assay"].value_counts().to_dict() == {"human": 6, "gfp": 1, "sirna": 1, "mouse": 1}
    row = images.iloc[0].to_dict()
    assert row == {
        "ensembl_id": "ENSG00000000001",
        "gene": "AAA1",
        "antibody": "HPA000001",
        "assay": "human",
        "cell_line": "U-2 OS",
        "locations": "Cytosol;Golgi apparatus",
        "validation": "supported",
        "reliability": "enhanced",
        "image": f"{HOST}/1/10_A1_1",
        "extension": "jpg",
    }
    assert f"{HOST}/2/1843_E1_11_cr5af96f44b4a7b" in set(images["image"])
    assert "HPA000009" not in set(images["antibody"])


def test_a_field_has_a_row_with_its_addresses(tmp_path):
    fields, _ = listed(tmp_path, small_release())
    assert list(fields.index) == ["10_A1_1", "10_A1_2", "11_A1_1", "1843_E1_11_cr5af96f44b4a7b", "30_C1_1"]
    row = fields.loc["1843_E1_11_cr5af96f44b4a7b"]
    assert row["er"] == f"{HOST}/2/1843_E1_11_cr5af96f44b4a7b_yellow.jpg"
    assert row["nucleus"] == f"{HOST}/2/1843_E1_11_cr5af96f44b4a7b_blue.jpg"
    assert tuple(row[["plate", "well", "site"]]) == ("1843", "E1", "11")
    # The release says nothing of this antibody in this line, the table speaks of the gene.
    assert row["label_level"] == "gene"
    assert row["locations"] == "Cytosol;Golgi apparatus;Cell Junctions"
    row = fields.loc["11_A1_1"]
    assert tuple(row[["locations", "label_level", "reliability"]]) == ("Cytosol", "antibody_line", "enhanced")
    assert row["pixel_size_um"] == pytest.approx(0.0800885)


def test_an_antibody_against_two_genes_gives_one_field_with_both(tmp_path):
    fields, _ = listed(tmp_path, small_release(), genes=["bbb3"])
    assert list(fields.index) == ["30_C1_1"]
    row = fields.loc["30_C1_1"]
    assert row["gene"] == "BBB2;BBB3"
    assert row["ensembl_id"] == "ENSG00000000002;ENSG00000000003"
    assert row["reliability"] == "uncertain;approved"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"cell_lines": ["u2os"]}, ["10_A1_1", "10_A1_2", "1843_E1_11_cr5af96f44b4a7b", "30_C1_1"]),
        ({"cell_lines": ["A431"], "antibodies": ["HPA000001"]}, ["11_A1_1"]),
        ({"reliability": ["approved"]}, ["30_C1_1"]),
        ({"locations": ["golgi Apparatus"], "cell_lines": ["U-2 OS"]}, None),
        ({"ensembl_ids": ["ENSG00000000002"]}, ["30_C1_1"]),
        ({"assays": ["siRNA"]}, ["12_A1_1"]),
        ({"assays": ["human", "gfp"], "cell_lines": ["hela"]}, ["fp7_D4_2"]),
        ({"fields_per_antibody": 2, "antibodies": ["HPA000001"]}, None),
    ],
)
def test_selection(tmp_path, given, expected):
    fields, _ = listed(tmp_path, small_release(), **given)
    if "locations" in given:
        expected = ["10_A1_1", "10_A1_2", "1843_E1_11_cr5af96f44b4a7b"]
    if "fields_per_antibody" in given:
        # Evenly over lines: one of each.
        assert sorted(fields["cell_line"]) == ["A-431", "U-2 OS"]
    else:
        assert list(fields.index) == expected


def test_names_that_are_not_there_are_told_together_with_the_nearest(tmp_path):
    with pytest.raises(SheetError) as error:
        listed(tmp_path, small_release(), cell_lines=["U2-0S"], genes=["AAA2"], antibodies=["HPA000004"])
    text = str(error.value)
    assert "cell line 'U2-0S' is not there; did you mean U-2 OS?" in text
    assert "gene 'AAA2' is not there; did you mean AAA1" in text
    assert "antibody 'HPA000004' is not there; did you mean" in text
    with pytest.raises(SheetError, match=r"assay 'goldfish' is not there; there are gfp, human, mouse, sirna"):
        listed(tmp_path, small_release(), assays=["goldfish"])


def test_a_selection_of_nothing_says_so(tmp_path):
    with pytest.raises(NothingLeftError, match="takes no field"):
        listed(tmp_path, small_release(), cell_lines=["A-431"], genes=["BBB2"])


def test_hosts_that_do_not_belong_to_the_release_are_set_aside(tmp_path):
    evil = antibody("HPA1", data("A-431", ["cytosol"], ["http://evil.example/1/1_A1_1", "file:///etc/2_A1_1"]))
    good = antibody("HPA2", data("A-431", ["cytosol"], ["https://images.proteinatlas.org/2/3_A1_1"]))
    fields, aside = listed(tmp_path, release(entry("ENSG00000000001", "AAA1", evil, good)))
    assert list(fields.index) == ["3_A1_1"]
    assert sorted(aside["field_id"]) == ["1_A1_1", "2_A1_1"]
    assert aside["reason"].str.contains("evil.example is no host of this release").sum() == 1
    assert aside["reason"].str.contains("only http and https").sum() == 1


def test_a_mirror_serves_the_images(tmp_path):
    fields, _ = listed(tmp_path, small_release(), image_address="http://127.0.0.1:8000/mirror/")
    assert fields.loc["10_A1_1", "protein"] == "http://127.0.0.1:8000/mirror/1/10_A1_1_green.jpg"


def test_adding_genes_moves_no_field_to_another_shard(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    few, _ = listed(tmp_path / "a", small_release(), shards=3, genes=["AAA1"])
    more, _ = listed(tmp_path / "b", small_release(), shards=3)
    assert more.loc[few.index, "shard"].equals(few["shard"])


@pytest.mark.parametrize("xml", [b"", b"<html>no</html>", b"<proteinAtlas><entry>", b"\x1f\x8b\x08\x00broken"])
def test_damaged_releases_are_refused(tmp_path, xml):
    (tmp_path / "atlas.xml").write_bytes(xml)
    with pytest.raises(SheetError, match=r"atlas.xml: (damaged or cut off|holds no entry|cannot read)"):
        read_entries(tmp_path / "atlas.xml", **QUIET)


def test_a_cut_archive_says_where_it_ends(tmp_path):
    many = packed(release(*[entry(f"ENSG{n:011d}", f"G{n}", antibody(f"HPA{n}")) for n in range(500)]))
    (tmp_path / "atlas.xml.gz").write_bytes(many[: len(many) // 2])
    with pytest.raises(SheetError, match=r"damaged or cut off behind gene \d+.*delete it, so that it is fetched again"):
        read_entries(tmp_path / "atlas.xml.gz", **QUIET)


def test_entities_are_not_resolved(tmp_path):
    (tmp_path / "secret").write_text("secret")
    attack = small_release().replace(
        b"<proteinAtlas>", f'<!DOCTYPE p [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]><proteinAtlas>'.encode()
    )
    attack = attack.replace(b"<name>AAA1</name>", b"<name>&x;</name>")
    (tmp_path / "atlas.xml").write_bytes(attack)
    images = read_entries(tmp_path / "atlas.xml", **QUIET)
    assert "secret" not in " ".join(images["gene"])


def test_the_table_of_locations_in_all_packings(tmp_path):
    (tmp_path / "a.tsv").write_text(LOCATION_TABLE)
    (tmp_path / "b.zip").write_bytes(zipped(LOCATION_TABLE))
    (tmp_path / "c.gz").write_bytes(packed(LOCATION_TABLE.encode()))
    tables = [read_location_table(tmp_path / name) for name in ("a.tsv", "b.zip", "c.gz")]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert tables[0]["reliability"].tolist() == ["enhanced", "uncertain", "approved"]
    (tmp_path / "d.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(SheetError, match="lacks the columns Gene, Gene name, Reliability"):
        read_location_table(tmp_path / "d.tsv")
    (tmp_path / "e.zip").write_bytes(zipped(LOCATION_TABLE)[:40])
    with pytest.raises(SheetError, match="cannot read the table of locations"):
        read_location_table(tmp_path / "e.zip")


def test_few_genes_are_read_entry_by_entry_and_the_terms_are_kept(tmp_path, monkeypatch):
    site = Site({"/ENSG00000000001.xml": small_release(), "/locations.zip": zipped(LOCATION_TABLE)})
    with serve(site):
        monkeypatch.setattr(Release, "site", property(lambda self: site.address))
        chosen = settings(genes=["aaa1"], location_table=f"{site.address}/locations.zip")
        outs = tmp_path / "release.parquet", tmp_path / "source.json"
        for _ in range(2):
            read_release(chosen, *outs, entries=["aaa1"], download={"cache": str(tmp_path / "cache")}, **QUIET)
        with pytest.raises(SheetError, match="gene 'ZZZ9' is not there"):
            read_release(chosen, *outs, entries=["ZZZ9"], download={"cache": str(tmp_path / "cache")}, **QUIET)
    assert site.paths() == ["/locations.zip", "/ENSG00000000001.xml"]
    terms = json.loads(outs[1].read_text())
    assert terms["release"] == "v18"
    assert "ShareAlike" in terms["licence"]
    assert "Human Protein Atlas" in terms["attribution"]
    assert [len(file["sha256"]) for file in terms["files"]] == [64, 64]


def test_addresses_of_all_releases():
    assert Release("v18").xml == "https://v18.proteinatlas.org/download/proteinatlas.xml.gz"
    assert Release("v23").location_table == "https://v23.proteinatlas.org/download/subcellular_location.tsv.zip"
    assert Release("v25").location_table == "https://v25.proteinatlas.org/download/tsv/subcellular_location.tsv.zip"


def test_antibody_lists(tmp_path):
    (tmp_path / "mine.txt").write_text("HPA000001\nHPA999999\n")
    fields, _ = listed(tmp_path, small_release(), antibody_lists=[str(tmp_path / "mine.txt")])
    assert set(fields["antibody"]) == {"HPA000001"}
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SheetError, match="is empty"):
        read_antibody_ids([tmp_path / "empty.txt"])
    with pytest.raises(SheetError, match="cannot read the list"):
        read_antibody_ids([tmp_path / "none.txt"])


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["U-2 OS", "A-431"])), max_size=40), st.integers(1, 5)
)
def test_the_cap_takes_lines_in_turn_and_does_not_depend_on_order(rows, most):
    fields = pd.DataFrame(
        [{"field_id": f"f{i}", "antibody": name, "cell_line": line} for i, (name, line) in enumerate(rows)],
        columns=["field_id", "antibody", "cell_line"],
    ).assign(gene=None, ensembl_id=None, reliability=None, locations=None)
    wanted = Selection(fields_per_antibody=most)
    chosen = select_fields(fields, wanted, **QUIET)
    backwards = select_fields(fields.iloc[::-1], wanted, **QUIET)
    assert set(chosen["field_id"]) == set(backwards["field_id"])
    for name, group in fields.groupby("antibody"):
        taken = chosen[chosen["antibody"] == name]["cell_line"].value_counts()
        assert taken.sum() == min(most, len(group))
        if most >= group["cell_line"].nunique():
            assert set(taken.index) == set(group["cell_line"])


def test_one_spelling():
    assert cell_line_name(" u2os ") == cell_line_name("U-2 OS") == "U-2 OS"
    assert cell_line_name("Rh30") == "RH-30"
    assert tissue_of("u2os") == "bone, osteosarcoma"
    assert tissue_of("my line") == tissue_of("HBF TERT88") == ""
    assert location_name("nucleoli fibrillar center") == "Nucleoli fibrillar center"
    found, problems = match_names(["hek293", "x"], ["HEK 293", "HeLa"], "cell line")
    assert found == {"HEK 293"}
    assert problems == ["cell line 'x' is not there"]


def test_the_plan_counts_what_is_missing_and_learns_from_what_was_fetched(tmp_path):
    fields, _ = listed(tmp_path, small_release(), image_address="http://127.0.0.1:1/i")
    table = fields.reset_index()
    files = list(files_on_the_web(table, settings()))
    plan = plan_download("atlas", "hpa", files, Cache(tmp_path / "cache"), connections=4)[0]
    assert (plan.fields, plan.files, plan.cached, plan.measured) == (5, 20, 0, False)
    assert plan.missing_bytes == 20 * 520_000
    assert plan.seconds == 5
    site = Site({f"/{i}.png": bytes(1000) for i in range(25)})
    with serve(site):
        urls = [f"{site.address}/{i}.png" for i in range(25)]
        downloader_of({"cache": str(tmp_path / "cache")}, **QUIET).fetch(urls, lambda url, path: None)
        more = [("a", url) for url in [*urls[:10], f"{site.address}/new.png"]]
    plan = plan_download("own", "images", more, Cache(tmp_path / "cache"), connections=4)[0]
    assert (plan.files, plan.cached, plan.cached_bytes, plan.measured) == (11, 10, 10_000, True)
    assert plan.missing_bytes == 1000
    assert "measured on files fetched from this host before" in describe_plans([plan], connections=4)
    assert "Nothing lies on the web" in describe_plans([], connections=4)


@needs_shared
def test_a_real_entry():
    images = read_entries(SHARED / "data/references/hpa_v18_ENSG00000134057.xml.gz", **QUIET)
    assert images.groupby("antibody").size().to_dict() == {"CAB000115": 6, "HPA030741": 14, "HPA061448": 10}
    row = images[images["image"].str.endswith("/30741/800_A6_1")].iloc[0]
    assert (row["cell_line"], row["locations"], row["assay"]) == ("A-431", "Cytosol", "human")


@needs_shared
def test_the_real_table_of_locations():
    table = read_location_table(SHARED / "data/references/hpa_subcellular_location.tsv.gz")
    assert len(table) == 13_147
    assert table.set_index("gene").loc["CCNB1", "reliability"] in ("enhanced", "supported")
