"""The simulator: layout as in HPA, the same field in any shard, truth that holds, no shortcut to the location."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from scipy.spatial.distance import pdist

from subcell.catalog.fields import FIELD_COLUMNS
from subcell.channels import CHANNELS, REFERENCES
from subcell.errors import ConfigError, SheetError
from subcell.imaging.ledger import LEDGER_COLUMNS, read_ledger
from subcell.imaging.read import read_field, read_labels
from subcell.sources.simulate import LOCATIONS, Settings, design_fields, render_field, simulate_fields, write_truth
from subcell.sources.simulate.antibodies import list_antibodies
from subcell.sources.simulate.cell import grow_cells, visible
from subcell.sources.simulate.filaments import deposit, sprinkle
from subcell.sources.simulate.lines import Line, draw_line
from subcell.sources.simulate.streams import smooth_noise, stream

SMALL = {"seed": 5, "genes": 12, "cell_lines": 3, "field_px": 160, "cells_per_field": (2, 4)}
LANDMARKS = CHANNELS[:3]


@pytest.fixture(scope="module")
def demo():
    return design_fields("demo", seed=1)


@pytest.fixture(scope="module")
def pictures():
    """One field a location, of the same cells, stained with the same antibody."""
    about = {"antibody": "SIM010007", "cell_line": "HeLa", "plate": "demo01", "seed": 1}
    return {
        location: render_field("demo01_A1_1", locations=(location,), cells_per_field=(7, 7), field_px=320, **about)[:3]
        for location in LOCATIONS
    }


def labels_of(fields):
    return Counter(name for names in fields["locations"].dropna() for name in names.split(";"))


# layout


def test_the_demo_is_laid_out_as_hpa(demo):
    assert tuple(demo.columns) == FIELD_COLUMNS
    assert 280 <= len(demo) <= 400
    assert demo["field_id"].is_unique
    assert (demo["field_id"] == demo["plate"] + "_" + demo["well"] + "_" + demo["site"]).all()
    assert (demo.groupby("plate")["cell_line"].nunique() == 1).all()
    assert demo["cell_line"].nunique() == 8
    assert (demo.groupby(["plate", "well"])["antibody"].nunique() == 1).all()
    assert (demo.groupby(["antibody", "cell_line"]).size() == 2).all()
    assert (demo.groupby("antibody")["cell_line"].apply(lambda lines: "U-2 OS" in set(lines))).all()
    assert demo.groupby("antibody")["cell_line"].nunique().max() == 3
    assert (demo.groupby("gene")["antibody"].nunique() == 2).sum() == 8


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_location_has_held_out_genes_and_no_gene_is_on_two_sides(seed):
    fields = design_fields("demo", seed=seed)
    genes = fields.drop_duplicates("gene")
    assert (fields.groupby("gene")["split"].nunique() == 1).all()
    held_out = labels_of(genes[genes["split"] == "test"])
    assert min(held_out[name] for name in LOCATIONS) >= 3
    trained = labels_of(genes[genes["split"] == "train"])
    assert min(trained[name] for name in LOCATIONS) >= 3
    assert (genes["split"] == "valid").sum() >= 6


def test_half_the_genes_have_two_locations_and_only_training_labels_lie():
    antibodies = list_antibodies(Settings(seed=1))
    genes = {antibody.gene.name: antibody for antibody in antibodies}
    assert 0.4 <= np.mean([len(antibody.true_locations) == 2 for antibody in genes.values()]) <= 0.55
    lying = [antibody for antibody in antibodies if antibody.locations != antibody.true_locations]
    assert 0.03 <= len(lying) / len(antibodies) <= 0.15
    assert {antibody.gene.split for antibody in lying} == {"train"}
    assert all(len(set(antibody.true_locations)) == len(antibody.true_locations) for antibody in antibodies)
    few = np.mean([antibody.few_cells for antibody in antibodies])
    assert 0.08 <= few <= 0.3


def test_the_same_seed_is_the_same_world_under_another_microscope(demo):
    shift = design_fields("shift", seed=1, microscope="widefield", pixel_size_um=0.4, missing_channels=["er"])
    assert shift["er"].isna().all()
    assert (shift["pixel_size_um"] == 0.4).all()
    same = ["antibody", "gene", "cell_line", "locations", "split"]
    assert shift[same].equals(demo[same])
    assert not set(shift["field_id"]) & set(demo["field_id"])
    other = design_fields("demo", seed=2)
    assert not set(other["gene"]) & set(demo["gene"])


def test_more_wells_than_a_plate_has_fill_a_second_plate():
    fields = design_fields("big", seed=1, genes=120, cell_lines=2, fields_per_well=1)
    assert fields["field_id"].is_unique
    assert fields.loc[fields["cell_line"] == "U-2 OS", "plate"].nunique() == 2
    assert (fields.groupby("plate")["cell_line"].nunique() == 1).all()


def test_a_screen_is_crossed_and_half_its_compounds_do_nothing(tmp_path):
    settings = {"seed": 1, "layout": "perturbation", "cell_lines": 1, "fields_per_well": 1}
    screen = design_fields("drugs", **settings)
    assert len(screen) == 75
    assert (screen.groupby("plate")["well"].nunique() == 25).all()
    assert (screen.groupby("well")["compound"].nunique() == 1).all()
    tested = screen[screen["control"].isna()]
    assert (tested.groupby(["plate", "compound", "dose"]).size() == 1).all()
    assert set(tested["dose"]) == {"1", "10"}
    assert (screen[screen["control"] == "negative"].groupby("plate").size() == 4).all()
    assert screen["gene"].isna().all()
    write_truth(tmp_path / "truth", **settings)
    compounds = pd.read_csv(tmp_path / "truth" / "compounds.tsv", sep="\t").set_index("compound")
    tested = compounds.drop(index="SIM-CONTROL")
    assert tested["active"].sum() == 5
    assert (tested["toxic"] & tested["mechanism"].isna()).sum() == 1
    assert (tested[tested["active"] & tested["mechanism"].notna()].groupby("mechanism").size() == 2).all()
    assert tested[~tested["active"]]["mechanism"].notna().any()
    write_truth(tmp_path / "off", **settings, effects={"compounds": False})
    assert not pd.read_csv(tmp_path / "off" / "compounds.tsv", sep="\t")["active"].any()


def test_a_plate_has_no_more_wells_than_it_has():
    with pytest.raises(ConfigError, match="take 105 wells; a plate has 96"):
        design_fields("drugs", seed=1, layout="perturbation", compounds=50)


def test_another_microscope_may_see_some_genes_in_a_line_of_its_own(demo):
    shift = design_fields(
        "shift", seed=1, imaged_genes=36, cell_lines=2, unseen_lines=1, lines_per_antibody=1, fields_per_well=1
    )
    assert len(shift) == 40
    assert (shift.groupby("antibody")["cell_line"].nunique() == 1).all()
    known = demo.drop_duplicates("antibody").set_index("antibody")
    about = shift.set_index("antibody")
    assert about[["gene", "split", "locations"]].equals(known.loc[about.index, ["gene", "split", "locations"]])
    unseen = set(shift["cell_line"]) - set(demo["cell_line"])
    assert len(unseen) == 1
    assert about["cell_line"].isin(unseen).mean() == 0.5


# truth


def truth_of(folder, name="complexes", **settings):
    write_truth(folder, **{"seed": 1, **settings})
    return pd.read_csv(folder / f"{name}.tsv", sep="\t")


def test_complexes_share_locations_and_sub_pattern_and_some_cannot_be_told_apart(tmp_path):
    complexes = truth_of(tmp_path / "on")
    antibodies = pd.read_csv(tmp_path / "on" / "antibodies.tsv", sep="\t")
    pattern = antibodies.drop_duplicates("gene").set_index("gene")["sub_pattern"]
    assert complexes["gene"].is_unique
    patterns = complexes.assign(pattern=complexes["gene"].map(pattern)).groupby("complex")
    assert (patterns["pattern"].nunique() == 1).all()
    separable = patterns[["separable", "pattern"]].first()
    assert separable[separable["separable"]]["pattern"].is_unique
    assert (separable[~separable["separable"]].groupby("pattern").size() == 2).all()
    shared = patterns["locations"].agg(lambda found: set.intersection(*(set(names.split(";")) for names in found)))
    assert 2 <= (shared.map(len) == 0).sum() < len(shared) / 2  # these span two locations
    off = truth_of(tmp_path / "off", effects={"complexes": False})
    assert off["complex"].tolist() == complexes["complex"].tolist()
    assert set(off["gene"]) != set(complexes["gene"])


def test_sub_patterns_of_test_genes_are_partly_unseen(tmp_path):
    antibodies = truth_of(tmp_path / "truth", "antibodies", effects={"complexes": False}, genes=400)
    for split, share in (("train", 0.0), ("test", 0.5)):
        kept_apart = antibodies[antibodies["split"] == split]["grain"].between(0.42, 0.58).mean()
        assert kept_apart == pytest.approx(share, abs=0.15), split
    off = truth_of(tmp_path / "off", "antibodies", effects={"sub_patterns": False})
    assert off["grain"].nunique() == 1


def test_labels_lie_only_where_the_truth_says_so(tmp_path):
    antibodies = truth_of(tmp_path / "on", "antibodies")
    assert antibodies["discordant"].sum() == 2
    assert (antibodies["locations"] != antibodies["true_locations"]).sum() > 2
    off = {"discordant_antibodies": False, "wrong_labels": False}
    honest = truth_of(tmp_path / "off", "antibodies", effects=off)
    assert honest["locations"].equals(honest["true_locations"])


def test_expression_goes_with_looks_but_for_twins(tmp_path):
    def agreement(folder, **settings):
        lines = truth_of(tmp_path / folder, "lines", cell_lines=32, **settings).set_index("cell_line")
        usual = lines[lines["kind"] == "usual"]
        expression = pd.read_parquet(tmp_path / folder / "expression.parquet")
        looks = pdist(usual.filter(like="morphology"))
        return np.corrcoef(looks, pdist(expression.loc[usual.index]))[0, 1], lines, expression

    linked, lines, expression = agreement("on")
    assert linked > 0.5
    assert abs(agreement("off", effects={"expression": False})[0]) < 0.2
    for name, line in lines[lines["kind"] != "usual"].iterrows():
        same_looks = draw_line(name, seed=1).radius_um == draw_line(line["twin"], seed=1).radius_um
        alike = np.corrcoef(expression.loc[name], expression.loc[line["twin"]])[0, 1] > 0.99
        assert (same_looks, alike) == ((True, False) if line["kind"] == "expression" else (False, True))
    assert abs(np.corrcoef(lines["density"], lines["morphology_1"])[0, 1]) < 0.4


def test_a_reversed_range_of_cells_is_refused():
    with pytest.raises(ConfigError, match=r"cells_per_field is \[5, 2\]"):
        design_fields("demo", seed=1, cells_per_field=(5, 2))


# files


def test_any_sharding_gives_the_same_bytes(tmp_path):
    fields = design_fields("tiny", **SMALL).iloc[:5]
    simulate_fields(fields, tmp_path / "all", **SMALL)
    simulate_fields(fields.iloc[[3, 1]], tmp_path / "part", **SMALL)
    names = {path.name for path in (tmp_path / "part").glob("*.png")}
    assert len(names) == 2 * 8
    for name in names:
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()
    another = {**SMALL, "seed": 6}
    simulate_fields(design_fields("tiny", **another).iloc[:1], tmp_path / "other", **another)
    other = next((tmp_path / "other").glob("*_green.png")).read_bytes()
    assert all(other != path.read_bytes() for path in (tmp_path / "all").glob("*_green.png"))


def test_the_folder_reads_back_as_any_folder_of_images(tmp_path):
    settings = {**SMALL, "missing_channels": ["er"], "microscope": "widefield"}
    fields = design_fields("tiny", **settings).iloc[:2]
    seen = []
    out = tmp_path / "images" / "0"
    simulate_fields(fields, out, progress=lambda rows, total, desc: (seen.append(total), rows)[1], **settings)
    ledger = read_ledger(out)
    assert seen == [2]
    assert tuple(ledger.columns) == LEDGER_COLUMNS
    assert (ledger["status"] == "ok").all()
    assert set(ledger["channel"]) == {*CHANNELS, *REFERENCES} - {"er"}
    assert sorted(path.name for path in out.parent.iterdir()) == ["0"]
    field_id = fields["field_id"].iloc[0]
    image, present = read_field(out, ledger, field_id)
    assert image.shape == (4, 160, 160)
    assert image.dtype == np.uint8
    assert present == ("microtubules", "nucleus", "protein")
    cells, nuclei = (read_labels(out, ledger, field_id, name) for name in ("reference_cells", "reference_nuclei"))
    assert set(np.unique(cells)) == set(np.unique(nuclei))
    simulate_fields(fields.iloc[:1], out, **settings)
    assert set(read_ledger(out)["field_id"]) == {field_id}


def test_fields_of_other_settings_are_refused(tmp_path):
    fields = design_fields("tiny", **SMALL).iloc[:1]
    with pytest.raises(SheetError, match="not part of the simulated design with seed 6"):
        simulate_fields(fields, tmp_path / "out", **{**SMALL, "seed": 6})
    assert not (tmp_path / "out").exists()


# cells


@pytest.mark.parametrize(("line", "pixel_um", "side"), [("HeLa", 0.32, 300), ("A-431", 0.5, 200), ("PC-3", 0.2, 257)])
def test_truth_masks_hold(line, pixel_um, side):
    cells = grow_cells(stream(2, line), draw_line(line, seed=2), cells=6, field_px=side, pixel_um=pixel_um)
    nuclei, whole = visible(cells)[:2]
    ids = np.unique(whole)
    assert ids.tolist() == list(range(len(ids)))
    assert ids.tolist() == np.unique(nuclei).tolist()
    assert (whole[nuclei > 0] == nuclei[nuclei > 0]).all()
    assert all(ndimage.label(whole == number)[1] == 1 for number in ids[1:])
    areas = np.bincount(nuclei.ravel())[1:] * pixel_um**2
    assert areas.min() >= 20
    assert areas.max() < 700
    assert (cells.edge_um[cells.labels == 0] == 0).all()
    assert (cells.depth_um[cells.nuclei > 0] > 0).all()
    assert not cells.nucleoli[cells.nuclei == 0].any()


def test_the_number_of_nuclei_is_kept():
    line = replace(draw_line("HeLa", seed=1), nucleus_um=4.0, radius_um=8.0)
    for wanted in (0, 1, 7):
        cells = grow_cells(stream(wanted, "count"), line, cells=wanted, field_px=300, pixel_um=0.3)
        centre = cells.centre_um[1:]
        assert ((centre >= 0) & (centre <= 90)).all(axis=1).sum() == wanted


def test_lines_look_different_and_stay_themselves():
    lines = [draw_line(name, seed=1) for name in ("U-2 OS", "A-431", "HeLa")]
    assert len(set(lines)) == 3
    assert all(isinstance(line, Line) for line in lines)
    assert draw_line("HeLa", seed=1) == lines[2]
    assert draw_line("HeLa", seed=2) != lines[2]


def test_an_empty_field_is_dark_and_has_no_cells():
    image, nuclei, cells, _, centrosomes = render_field(
        "empty_A1_1", antibody="a", locations=("Golgi apparatus",), cell_line="HeLa", plate="p", seed=1,
        cells_per_field=(0, 0), field_px=96, microscope="confocal",
    )  # fmt: skip
    assert image.max() < 20
    assert not nuclei.any()
    assert not cells.any()
    assert not centrosomes.any()


# what the protein channel shows


def test_the_protein_is_no_copy_of_a_landmark(pictures):
    for location, (image, _, cells) in pictures.items():
        inside = image[:, cells > 0].astype(float)
        for number, landmark in enumerate(LANDMARKS):
            correlation = np.corrcoef(inside[number], inside[3])[0, 1]
            assert correlation < 0.9, f"{location} against {landmark}"


def test_location_changes_nothing_but_the_protein_channel(pictures):
    first = pictures["Cytosol"]
    for image, nuclei, cells in pictures.values():
        # Read noise is drawn channel by channel after the stains, so the landmarks come out the same to the last bit.
        assert np.array_equal(image[:3], first[0][:3])
        assert np.array_equal(nuclei, first[1])
        assert np.array_equal(cells, first[2])


def test_brightness_says_little_of_the_location(pictures):
    means = {location: image[3][cells > 0].mean() for location, (image, _, cells) in pictures.items()}
    assert max(means.values()) < 1.6 * min(means.values()), means


def test_locations_lie_where_they_should(pictures):
    def enrichment(location):
        image, nuclei, cells = pictures[location]
        protein = image[3].astype(float)
        return protein[nuclei > 0].mean() / protein[(cells > 0) & (nuclei == 0)].mean()

    for location in ("Nucleoplasm", "Nucleoli", "Nuclear speckles"):
        assert enrichment(location) > 2, location
    for location in ("Cytosol", "Mitochondria", "Golgi apparatus", "Endoplasmic reticulum", "Microtubules"):
        assert enrichment(location) < 0.9, location

    image, _, cells = pictures["Plasma membrane"]
    edge = np.zeros(cells.shape, bool)
    for number in range(1, cells.max() + 1):
        edge |= (cells == number) & ~ndimage.binary_erosion(cells == number, iterations=3, border_value=1)
    assert image[3][edge].mean() > 1.5 * image[3][(cells > 0) & ~edge].mean()


def test_widefield_has_an_offset_and_less_detail():
    about = {
        **{"antibody": "SIM010001", "locations": ("Microtubules",), "cell_line": "HeLa"},
        **{"plate": "p", "seed": 1, "field_px": 200, "cells_per_field": (3, 3)},
    }
    confocal, _, cells = render_field("p_A1_1", **about)[:3]
    wide = render_field("p_A1_1", microscope="widefield", **about).image
    background = cells == 0
    assert (confocal[:, background] == 0).mean() > 0.2
    assert np.median(wide[:, background]) >= 5
    detail = [ndimage.laplace(image[0].astype(float))[cells > 0].std() for image in (confocal, wide)]
    assert detail[1] < 0.7 * detail[0]


# drawing


def test_points_keep_their_weight_and_place():
    image = deposit((5, 7), np.array([2.5, 0.5]), np.array([3.5, 1.0]), np.array([2.0, 1.0]))
    assert image[2, 3] == pytest.approx(2)
    assert image[0, 0] == pytest.approx(0.5)
    assert image[0, 1] == pytest.approx(0.5)
    assert image.sum() == pytest.approx(3)
    outside = deposit((5, 7), np.array([-40.0, 2.5]), np.array([2.0, 99.0]), np.ones(2))
    assert outside.sum() == 0


def test_sprinkled_places_lie_where_there_is_a_chance():
    cells = grow_cells(stream(1, "sprinkle"), draw_line("HeLa", seed=1), cells=4, field_px=200, pixel_um=0.32)
    y, x = sprinkle(stream(1, "places"), (cells.nuclei > 0).astype(float), cells, per_cell=200)
    assert (cells.nuclei[y.astype(int), x.astype(int)] > 0).all()
    present = len(np.unique(cells.nuclei)) - 1
    assert len(y) == pytest.approx(200 * present, rel=0.15)


def test_noise_has_unit_variance_and_the_asked_length():
    noise = smooth_noise(stream(1, "noise"), (256, 256), 4.0)
    assert noise.mean() == pytest.approx(0, abs=1e-3)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    # A Gaussian kernel of sigma s gives a correlation of exp(-d^2 / 4 s^2).
    apart = np.corrcoef(noise[:, :-4].ravel(), noise[:, 4:].ravel())[0, 1]
    assert apart == pytest.approx(np.exp(-0.25), abs=0.05)


def test_streams_follow_names_not_order():
    assert stream(1, "a", 2).random() == stream(1, "a", 2).random()
    assert len({stream(1, "a").random(), stream(1, "b").random(), stream(2, "a").random()}) == 3
