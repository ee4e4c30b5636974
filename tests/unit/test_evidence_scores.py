"""Scores on real sets: known answers where vectors say everything, chance where they say nothing, on made-up tables."""

import numpy as np
import pandas as pd
import pytest
from evidence_example import (
    COMPOUNDS,
    LOCATIONS,
    cells_of_drugs,
    cells_of_fields,
    part_of_evidence,
    write_crops,
    write_map,
)

from subcell.benchmarks.probes.frozen import Cells
from subcell.crops.store import CropStore
from subcell.errors import SheetError

fields = part_of_evidence("hpa_fields")
drugs = part_of_evidence("bbbc021")
lopit = part_of_evidence("hyperlopit")
models = part_of_evidence("models")
scores = part_of_evidence("scores")


def folds_of(obs, vectors, deal):
    dealt = deal(obs)
    return [models.Fold(number, Cells(np.asarray(vectors, np.float32), obs), dealt == number) for number in (0, 1)]


def codes(names):
    return pd.get_dummies(names).to_numpy(np.float32)


def noise(cells, numbers=8, seed=0):
    return np.random.default_rng(seed).normal(size=(cells, numbers)).astype(np.float32)


def test_a_field_finds_its_other_half_where_vectors_name_fields_and_by_chance_where_they_are_noise():
    obs = cells_of_fields(fields=60)
    for vectors, least, most in ((noise(60)[np.repeat(np.arange(60), 4)], 1, 1), (noise(240), 0, 0.3)):
        for fold in folds_of(obs, vectors, fields.deal_fields):
            found = fields.across_halves(fold)
            assert len(found) == 30
            assert least <= found["score"].mean() <= most
            assert found["chance"].to_numpy() == pytest.approx((1 / np.arange(1, 31)).mean())


def test_what_tells_the_sides_of_a_field_apart_does_not_help_to_find_its_other_half():
    obs = cells_of_fields(fields=40)
    side = fields.halves_of_fields(obs).to_numpy(float)[:, None] * 10
    for fold in folds_of(obs, np.hstack([side, noise(160)]), fields.deal_fields):
        assert fields.across_halves(fold)["score"].mean() < 0.5


def test_halves_are_of_equal_size_and_lie_apart():
    obs = cells_of_fields(fields=3)
    right = fields.halves_of_fields(obs)
    for _, cells in obs.groupby("field_id"):
        assert right[cells.index].sum() == 2
        assert cells["centroid_x_px"][right[cells.index]].min() > cells["centroid_x_px"][~right[cells.index]].max()


def test_fields_of_a_location_find_each_other_only_where_vectors_say_the_location():
    obs = cells_of_fields(fields=48)
    for fold in folds_of(obs, codes(obs["locations"]) + 0.01 * noise(192, 3), fields.deal_fields):
        assert fields.same_location(fold)["score"].to_numpy() == pytest.approx(1)
    found = pd.concat([fields.same_location(fold) for fold in folds_of(obs, noise(192), fields.deal_fields)])
    assert abs(found["score"].mean() - found["chance"].mean()) < 0.15


def test_a_field_that_shares_no_location_asks_nothing():
    obs = cells_of_fields(fields=12)
    fold = folds_of(obs, noise(48), fields.deal_fields)[0]
    alone = obs["field_id"][fold.held_out].iloc[0]
    obs.loc[obs["field_id"] == alone, "locations"] = "Rods & Rings"
    assert np.isnan(fields.same_location(fold).loc[alone, "score"])


def test_locations_are_read_by_a_regression_that_never_sees_those_of_held_out_fields():
    obs = cells_of_fields(fields=30)
    perfect = fields.read_locations(folds_of(obs, codes(obs["locations"]), fields.deal_fields), 0)
    assert perfect.estimate.value == pytest.approx(1)
    assert perfect.n == 30
    # Names of fields say all about fields that were seen, nothing about others.
    named = fields.read_locations(folds_of(obs, codes(obs["field_id"]), fields.deal_fields), 0)
    assert named.estimate.value < 0.6


def test_locations_of_few_fields_are_not_scored():
    obs = cells_of_fields(fields=18)
    assert fields.scored_locations(obs) == sorted(LOCATIONS, key=fields.scored_locations(obs).index)
    obs.loc[obs["field_id"] == "f00", "locations"] = "Cytosol"
    assert LOCATIONS[0] not in fields.scored_locations(obs)


def test_compounds_are_dealt_by_name_and_controls_train_in_both_folds():
    obs = cells_of_drugs()
    dealt = drugs.deal_compounds(obs)
    assert set(dealt[(obs["control"] == "negative").to_numpy()]) == {-1}
    assert pd.Series(dealt).groupby(obs["compound"].to_numpy()).nunique().eq(1).all()
    assert set(dealt) == {-1, 0, 1}


def test_a_compound_is_found_where_vectors_name_compounds_and_its_mechanism_where_they_name_mechanisms():
    obs = cells_of_drugs()
    asked = drugs.treated_wells(obs)
    assert len(asked) == 3 * len(COMPOUNDS)
    plain = 0.01 * noise(len(obs), 3)
    of_compounds = drugs.score_folds(
        folds_of(obs, np.hstack([codes(obs["compound"]), plain]), drugs.deal_compounds), asked
    )
    assert of_compounds["compound across plates"].estimate.value == pytest.approx(1)
    of_mechanisms = drugs.score_folds(
        folds_of(obs, np.hstack([codes(obs["mechanism"]), plain]), drugs.deal_compounds), asked
    )
    assert of_mechanisms["mechanism"].estimate.value == pytest.approx(1)
    assert of_compounds["mechanism"].estimate.value < 0.8
    assert of_mechanisms["mechanism"].chance < 0.8


def test_wells_that_are_not_asked_neither_ask_nor_answer():
    obs = cells_of_drugs()
    asked = {name for name in drugs.treated_wells(obs) if not name.startswith("P3|")}
    folds = folds_of(obs, codes(obs["compound"]), drugs.deal_compounds)
    whole, part = (drugs.score_folds(folds, names) for names in (drugs.treated_wells(obs), asked))
    assert part["compound across plates"].chance != whole["compound across plates"].chance


@pytest.mark.parametrize(("pixels", "um"), [(32, 0.5), (20, 1.0)])
def test_crops_at_another_pixel_size_show_the_same_microns_in_the_middle(tmp_path, pixels, um):
    obs = cells_of_drugs(cells=1)
    crops = write_crops(tmp_path / "old.h5sc", obs, pixels=68, field_um=34.0)
    drugs.resample(crops, tmp_path / "new.h5sc", pixels=pixels, um_per_px=um)
    old, new = CropStore(crops), CropStore(tmp_path / "new.h5sc")
    assert new.um_per_px == pytest.approx(um)
    assert list(new.obs.index) == list(old.obs.index)
    mask, before = (store.read([0])[0, 1] for store in (new, old))
    assert set(np.unique(mask)) <= {0, 1}
    side_um = np.sqrt(before.sum()) * 0.5
    assert np.sqrt(mask.sum()) * um == pytest.approx(min(side_um, pixels * um), abs=um)
    rows, columns = np.nonzero(mask)
    assert rows.mean() == pytest.approx((pixels - 1) / 2, abs=0.5)
    assert columns.mean() == pytest.approx((pixels - 1) / 2, abs=0.5)
    assert new.obs["split"].isna().all()


def test_levels_that_are_the_marker_compartments_agree_with_them_and_shuffled_ones_do_not(tmp_path):
    vectors = write_map(tmp_path / "map", tmp_path / "vectors.h5ad")
    table, clusters, counted = lopit.run(tmp_path / "map", vectors)
    found = table.set_index(["task", "model"])["value"]
    assert found["level 2, 4 clusters", "map"] == pytest.approx(1)
    assert found["level 1, 2 clusters", "map"] < 0.9
    assert abs(found["level 2, 4 clusters", "shuffled"]) < 0.1
    assert found["level 2, 4 clusters", "k-means"] > 0.9
    assert counted == {"proteins": 40, "markers": 20, "compartments": 4}
    assert set(clusters["compartment"]) == {"M0", "M1", "M2", "M3"}
    assert clusters["share"].eq(1).all()


def test_vectors_without_markers_are_refused_by_name(tmp_path):
    vectors = write_map(tmp_path / "map", tmp_path / "vectors.h5ad")
    import anndata

    table = anndata.read_h5ad(vectors)
    del table.obs["lopit_marker"]
    table.write_h5ad(vectors)
    with pytest.raises(SheetError, match=r"vectors\.h5ad.*lopit_marker"):
        lopit.run(tmp_path / "map", vectors)


def test_differences_are_paired_only_where_the_same_units_were_drawn():
    from subcell.benchmarks.statistics.bootstrap import bootstrap_mean

    one, other = (bootstrap_mean(np.arange(12.0) + shift, bootstraps=50, seed=1) for shift in (0, 1))
    few = bootstrap_mean(np.ones(1), bootstraps=50, seed=1)
    scored = {name: scores.Scored(found, 0.0, 12) for name, found in {"base": one, "better": other, "few": few}.items()}
    table = scores.tidy("set", "task", "metric", "unit", scored, "base").set_index("model")
    assert list(table.reset_index().columns.difference(scores.COLUMNS)) == []
    assert table.loc["better", ["over_value", "over_low", "over_high"]].astype(float).to_numpy() == pytest.approx(1)
    assert table.loc[["base", "few"], "over_value"].isna().all()
