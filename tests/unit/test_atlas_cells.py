"""Which cells a map takes, what Harmony does to them, and how they become vectors of units."""

import numpy as np
import pandas as pd
import pytest
from hpa_release import HOST, antibody, data, entry, release

from subcell.atlas.clusters.settings import Settings
from subcell.atlas.knowledge.knowledge import read_knowledge
from subcell.atlas.units.batches import correct_batches, share_nested
from subcell.atlas.units.filters import choose_cells, name_columns
from subcell.atlas.units.planted import plant
from subcell.atlas.units.summaries import SPREAD_SHARE, collect
from subcell.atlas.units.units import summarise
from subcell.catalog.fields import read_fields
from subcell.config.check import resolve
from subcell.errors import ConfigError
from subcell.sources import list_fields, read_release

PAPER = {"cell_lines": ["U2OS"], "require_location": True, "single_gene": True,
         "drop_reliability": ["Uncertain"], "best_antibody": True}  # fmt: skip


def released():
    """Seven antibodies in the columns of the released table, one reason each to go."""
    rows = [
        ("A1", "GA", "U2OS", "Cytosol,Nucleoli", "Supported", 2),
        ("A2", "GA", "U2OS", "Cytosol", "Enhanced", 1),
        ("B1", "GB", "HeLa", "Cytosol", "Enhanced", 1),
        ("C1", "GC", "U2OS", None, "Enhanced", 1),
        ("D1", "GD,GE", "U2OS", "Cytosol", "Enhanced", 1),
        ("F1", "GF", "U2OS", "Cytosol", "Uncertain", 4),
        ("G1", "GG", "U2OS", "Vesicles", "Approved", 3),
    ]
    table = pd.DataFrame(
        rows, columns=["antibody", "gene_names", "atlas_name", "locations", "gene_reliability", "reliability_rank"]
    )
    table = table.assign(
        if_plate_id=[1, 2, 3, 4, 5, 6, 7], position="A1", sample=1, image_width=[2048, 1728] * 3 + [3000]
    )
    return table.loc[table.index.repeat(2)].reset_index(drop=True).astype({"locations": "category"})


def test_released_columns_get_our_names():
    obs = name_columns(released())
    assert obs["gene"].iloc[8] == "GD;GE"
    assert obs["locations"].iloc[0] == "Cytosol;Nucleoli"
    assert obs["field_id"].iloc[0] == "1_A1_1"
    assert obs["microscope"].tolist() == ["M1", "M1", "M2", "M2"] * 3 + ["M1", "M1"]


def test_the_microscope_is_the_batch_of_the_sheet_else_what_the_width_tells():
    obs = pd.DataFrame({"field_id": list("abc"), "image_width_px": [2048.0, 1024.0, np.nan], "batch": [None] * 3})
    named = name_columns(obs)
    assert named["microscope"].tolist() == ["M1", "M2", None]
    assert name_columns(obs.assign(batch=["x", "y", "y"]))["microscope"].tolist() == ["x", "y", "y"]
    with pytest.raises(ConfigError, match=r"no microscope, or some lack it; give `batch` .* in the sheet"):
        correct_batches(np.zeros((3, 2), np.float32), named, ["microscope"], unit="field")


def test_width_of_the_images_is_a_negative_control():
    obs = pd.DataFrame({"field_id": list("abcdef"), "gene": list("ABCDEF"), "plate": list("xxyyzz")})
    obs["image_width_px"] = [2048, 2048, 1728, 1728, 3000, 3000]

    def controls(table):
        units, _ = summarise(np.zeros((6, 1), np.float32), name_columns(table))
        return [(member.name, member.terms) for member in read_knowledge(units.obs, Settings())[2]]

    assert controls(obs) == [("plate", list("xyz")), ("microscope", ["M1", "M2"])], "here plates differ in it, no more"
    assert controls(obs.assign(plate=list("xyxyxy")))[2] == ("image_width_px", ["1728", "2048", "3000"])
    assert controls(obs.assign(image_width_px=2048, plate="x")) == []


def test_filters_in_the_order_of_the_paper():
    obs = name_columns(released())
    keep, steps = choose_cells(obs, **PAPER)
    assert steps["cells"].tolist() == [14, 12, 10, 8, 6, 4]
    assert obs.loc[keep, "antibody"].unique().tolist() == ["A2", "G1"]
    everything, _ = choose_cells(obs)
    assert everything.all()


def test_equal_antibodies_are_told_by_their_cells():
    obs = pd.DataFrame({"gene": ["G"] * 5, "antibody": ["B", "A", "A", "C", "C"]})
    keep, _ = choose_cells(obs, best_antibody=True)
    assert obs.loc[keep, "antibody"].tolist() == ["A", "A"]


def test_grades_of_the_atlas_are_told_whatever_their_capitals(tmp_path):
    """Fields as the source `hpa` lists them: grades in lower case, one for each gene of an antibody."""
    own = [
        entry("ENSG1", "G1", antibody("A1", data("U-2 OS", ["cytosol"], [f"{HOST}/1/1_A1_1", f"{HOST}/1/1_A1_2"])),
              reliability="Uncertain"),
        entry("ENSG2", "G2", antibody("A2", data("U-2 OS", ["cytosol"], [f"{HOST}/1/1_B1_1"])), reliability="Enhanced"),
        entry("ENSG3", "G3", antibody("A3", data("U-2 OS", ["cytosol"], [f"{HOST}/1/1_C1_1"])), reliability="Approved"),
        entry("ENSG4", "G4", antibody("A3", data("U-2 OS", ["cytosol"], [f"{HOST}/1/1_C1_1"])), reliability="Uncertain"),
    ]  # fmt: skip
    (tmp_path / "atlas.xml").write_bytes(release(*own))
    (tmp_path / "locations.tsv").write_text("Gene\tGene name\tReliability\tMain location\n")
    given = {"source": "hpa", "release": "v18", "xml": str(tmp_path / "atlas.xml"),
             "location_table": str(tmp_path / "locations.tsv")}  # fmt: skip
    settings = resolve({"datasets": {"atlas": given}})["datasets"]["atlas"]
    quiet = {"log": lambda text: None}
    read_release(settings, tmp_path / "r.parquet", tmp_path / "s.json", download={"cache": str(tmp_path)}, **quiet)
    list_fields(
        "atlas", settings, [tmp_path / "0.parquet"], tmp_path / "a.tsv", release=tmp_path / "r.parquet", **quiet
    )
    obs = name_columns(read_fields(tmp_path / "0.parquet"))
    assert sorted(obs["reliability"]) == ["Approved;Uncertain", "Enhanced", "Uncertain", "Uncertain"]
    keep, _ = choose_cells(obs, drop_reliability=["Uncertain"])
    assert obs.loc[keep, "antibody"].tolist() == ["A2"]
    keep, _ = choose_cells(obs.assign(gene="G"), best_antibody=True)
    assert obs.loc[keep, "antibody"].tolist() == ["A2"], "the best grade, though an uncertain one has more cells"
    with pytest.raises(ConfigError, match="reliability` of the cells is 'High'; expected Enhanced"):
        choose_cells(obs.assign(reliability="High"), drop_reliability=["Uncertain"])


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"drop_reliability": ["Uncertain"]}, "drop_reliability: the cells have no `reliability`"),
        ({"single_gene": True}, "leaves none of 2 cells"),
    ],
)
def test_a_filter_that_cannot_be_applied_says_so(filters, message):
    obs = pd.DataFrame({"gene": ["A;B", "C;D"], "antibody": ["1", "2"]})
    with pytest.raises(ConfigError, match=message):
        choose_cells(obs, **filters)


def batched(rng, lines):
    """Cells of 20 genes on two plates a line, which shift them; each gene on both plates."""
    rows, vectors = [], []
    genes, plates = rng.normal(size=(20, 10)), rng.normal(size=(2 * len(lines), 10))
    for number, line in enumerate(lines):
        for plate in range(2):
            for gene in range(20):
                for _ in range(6):
                    rows.append({"gene": f"G{gene}", "plate": f"{line}{plate}", "cell_line": line})
                    vectors.append(genes[gene] + plates[2 * number + plate] + 0.5 * rng.normal(size=10))
    return pd.DataFrame(rows), np.array(vectors, np.float32)


def test_harmony_brings_plates_together_and_keeps_genes_apart():
    obs, vectors = batched(np.random.default_rng(0), ["U2OS"])
    found = correct_batches(vectors, obs, ["plate"], unit="gene")
    assert found.shape == vectors.shape

    def between(values, column):
        centres = pd.DataFrame(values).groupby(obs[column].to_numpy()).mean().to_numpy()
        return centres.var(axis=0).sum()

    assert between(found, "plate") < 0.1 * between(vectors, "plate")
    assert between(found, "gene") > 0.5 * between(vectors, "gene")
    np.testing.assert_array_equal(found, correct_batches(vectors, obs, ["plate"], unit="gene", threads=2))


def test_harmony_is_refused_where_it_would_remove_lines_or_genes():
    obs, vectors = batched(np.random.default_rng(0), ["U2OS", "HeLa"])
    assert share_nested(obs["plate"], obs["cell_line"]) == 1
    with pytest.raises(ConfigError, match=r"plate is nested in cell_line: 100 % of the cells.*batches_within_line"):
        correct_batches(vectors, obs, ["plate"], unit="gene")
    within = correct_batches(vectors, obs, ["plate"], unit="gene", within_line=True)
    alone = correct_batches(vectors[:240], obs.iloc[:240], ["plate"], unit="gene")
    np.testing.assert_array_equal(within[:240], alone)
    by_gene = obs.assign(plate=obs["gene"] + "p")
    with pytest.raises(ConfigError, match="plate is nested in gene"):
        correct_batches(vectors, by_gene, ["plate"], unit="gene", within_line=True)
    with pytest.raises(ConfigError, match="no microscope"):
        correct_batches(vectors, obs, ["microscope"], unit="gene")


def test_a_stray_cell_does_not_get_harmony_past_nested_plates():
    plate, line = np.repeat(np.arange(100), 20), np.repeat(np.arange(10), 200)
    line[:10] = 9  # half of one plate
    line[40::400] = 0  # a cell in some
    obs = pd.DataFrame({"plate": plate, "cell_line": line, "gene": np.arange(2000) % 50}).astype(str)
    share = share_nested(obs["plate"], obs["cell_line"])
    assert 0.95 < share < 1
    with pytest.raises(
        ConfigError, match=rf"plate is nested in cell_line: {100 * share:.1f} % of the cells of a cell_line"
    ):
        correct_batches(np.zeros((2000, 2), np.float32), obs, ["plate"], unit="gene")


def test_plates_on_which_lines_are_mixed_are_not_nested():
    plate = pd.Series(np.repeat(np.arange(100), 100))
    mostly_one = pd.Series(np.where(np.arange(10_000) % 100 < 97, "U-2 OS", "HeLa"))
    assert share_nested(plate, mostly_one) == 0.5, "U-2 OS alone has plates of its own"
    assert share_nested(plate, mostly_one.mask(plate == 0, "HeLa")) < 0.95
    assert share_nested(plate, pd.Series(["U-2 OS"] * 10_000)) == 0


def test_wells_are_corrected_by_their_plate():
    obs, vectors = batched(np.random.default_rng(0), ["U2OS"])
    wells = obs.assign(well=obs["gene"])
    found = correct_batches(vectors, wells, ["plate"], unit="well")
    np.testing.assert_array_equal(found, correct_batches(vectors, obs, ["plate"], unit="gene"))
    with pytest.raises(ConfigError, match="plate is nested in well"):
        correct_batches(vectors, obs.assign(well="A1"), ["plate"], unit="well")


def test_spread_is_that_within_fields():
    rng = np.random.default_rng(0)
    unit, group = np.repeat([0, 1, 2], 400), np.repeat(np.arange(6), 200)
    spread = np.array([0.5, 1.0, 2.0])[unit]
    cells = 5.0 * group[:, None] + spread[:, None] * rng.normal(size=(1200, 2))
    found = collect(cells, unit, group, "mean_and_spread").vectors()
    means, spreads = found[:, :2], found[:, 2:]
    np.testing.assert_allclose(means, pd.DataFrame(cells).groupby(unit).mean(), rtol=1e-5)
    np.testing.assert_allclose(spreads / spreads[:1], [[1, 1], [2, 2], [4, 4]], rtol=0.2)
    share = spreads.var(axis=0).sum() / found.var(axis=0).sum()
    assert share == pytest.approx(SPREAD_SHARE, rel=1e-4)


@pytest.mark.parametrize("average", ["mean", "median", "mean_and_spread"])
def test_a_resample_is_what_its_cells_give(average):
    rng = np.random.default_rng(1)
    cells = rng.normal(size=(60, 3)).astype(np.float32)
    unit, group = np.repeat([0, 1], 30), np.repeat(np.arange(6), 10)
    summaries = collect(cells, unit, group, average)
    times = summaries.resample(np.random.default_rng(2))
    assert [times[:3].sum(), times[3:].sum()] == [3, 3]
    rows = np.concatenate([np.flatnonzero(group == number) for number in range(6) for _ in range(times[number])])
    copies = np.concatenate([np.full(10, k) for k in range(times.sum())])
    again = collect(cells[rows], unit[rows], copies, average).vectors()
    np.testing.assert_allclose(summaries.vectors(times), again, rtol=1e-4, atol=1e-5)


def test_units_by_line_and_without_small_ones():
    planted = plant(24, lines=("U2OS", "HeLa"), fields=1, seed=3)
    obs = name_columns(planted.cells.obs)
    pooled, _ = summarise(planted.cells.X, obs)
    split, _ = summarise(planted.cells.X, obs, split_lines=True)
    assert (pooled.n_obs, split.n_obs) == (24, 48)
    assert split.obs_names[0] == "SIMGENE00000 @ HeLa"
    few, _ = summarise(planted.cells.X, obs, min_cells=11)
    assert few.n_obs == few.obs["antibody"].str.contains(";").sum()
    assert few.uns["units_left_out"] == 24 - few.n_obs
