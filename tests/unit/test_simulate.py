"""The simulator: layout as in HPA or as in a screen, truth that holds, the same field in any shard."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist

from subcell.catalog.fields import FIELD_COLUMNS
from subcell.channels import CHANNELS, REFERENCES
from subcell.errors import ConfigError, SheetError
from subcell.imaging.ledger import LEDGER_COLUMNS, read_ledger
from subcell.imaging.read import read_field, read_labels
from subcell.sources import simulate
from subcell.sources.simulate import (
    LOCATIONS,
    Settings,
    design_fields,
    simulate_fields,
    write_truth,
)
from subcell.sources.simulate.antibodies import list_antibodies
from subcell.sources.simulate.lines import draw_line

SMALL = {"seed": 5, "genes": 12, "cell_lines": 3, "field_px": 160, "cells_per_field": (2, 4)}


@pytest.fixture(scope="module")
def demo():
    return design_fields("demo", seed=1)


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


def test_another_number_of_threads_gives_the_same_bytes(tmp_path):
    fields = design_fields("tiny", **SMALL).iloc[:2]
    simulate_fields(fields, tmp_path / "here", **SMALL)
    code = (
        "from subcell.sources.simulate import design_fields, simulate_fields\n"
        f"settings = {SMALL!r}\n"
        f"simulate_fields(design_fields('tiny', **settings).iloc[:2], {str(tmp_path / 'there')!r}, **settings)"
    )
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "4")
    library = str(Path(simulate.__file__).parents[3])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **threads, "PYTHONPATH": library})
    names = [path.name for path in (tmp_path / "here").iterdir()]
    assert len(names) == 2 * 8 + 1
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name


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
