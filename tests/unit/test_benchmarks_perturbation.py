"""Perturbation: compounds and mechanisms that act are found on other plates, and layout alone is not taken for them."""

import numpy as np
import pandas as pd
import pytest
from copairs.map import average_precision
from planted_cells import score, write_cells

from subcell.benchmarks.inputs.halves import halve_screen, halves
from subcell.benchmarks.inputs.hits import HIT_COLUMNS, hit_table
from subcell.benchmarks.inputs.profiles import (
    Processing,
    average_wells,
    grid,
    process,
    scale_plates,
    select_features,
    sphere,
)
from subcell.benchmarks.probes.frozen import Cells, read_cells
from subcell.benchmarks.statistics.ranking import find_groups, rank_among
from subcell.benchmarks.tasks import perturbation
from subcell.benchmarks.tasks.perturbation import cross_scored, exchanged_chance, retrieval
from subcell.embedding.imported import import_cells

NUMBERS = 12


def screen(rng, *, plates=4, compounds=8, wells=2, controls=8, cells=4, effect=3.0, mechanism=2.0, plate=4.0):
    """A screen whose plates differ more than its compounds; compounds 0 and 1 share a mechanism, 2 and 3, and so on."""
    directions = rng.normal(0, 1, (compounds, NUMBERS))
    shared = rng.normal(0, 1, (compounds, NUMBERS))
    rows, vectors = [], []
    for p in range(plates):
        offset = plate * rng.normal(size=NUMBERS)
        contents = [(c, None) for c in range(compounds) for _ in range(wells)] + [(None, "negative")] * controls
        # Compounds change places from plate to plate.
        for place, (c, control) in zip(rng.permutation(len(contents)), contents, strict=True):
            well = f"{'ABCDEFGH'[place % 8]}{place // 8 + 1}"
            middle = offset + rng.normal(0, 0.3, NUMBERS)
            if c is not None:
                middle = middle + effect * directions[c] / 2 + mechanism * shared[c // 2] / 2
            for cell in range(cells):
                rows.append(
                    {
                        "cell_id": f"p{p}_{well}_1:{cell}",
                        "field_id": f"p{p}_{well}_{cell % 2}",
                        "plate": f"p{p}",
                        "well": well,
                        "compound": "DMSO" if c is None else f"C{c}",
                        "mechanism": None if c is None else f"M{c // 2}",
                        "control": control,
                        "dose": "1",
                    }
                )
                vectors.append(middle + rng.normal(0, 1, NUMBERS))
    return pd.DataFrame(rows).set_index("cell_id"), np.array(vectors)


def test_compounds_and_mechanisms_that_act_are_found(tmp_path):
    obs, vectors = screen(np.random.default_rng(0), mechanism=4)
    scores, written, table = score(perturbation, tmp_path, obs, vectors, out_hits=tmp_path / "hits.tsv")
    assert next(iter(scores)) == "compound_map"
    assert scores["compound_map"]["value"] > 0.8
    assert scores["mechanism_map"]["value"] > scores["mechanism_map"]["chance"] + 0.15
    assert scores["compound_nearest"]["value"] > 0.8
    assert scores["compound_map"]["unit"] == "compound"
    assert written["settings"]["tried"] == 24
    assert written["settings"]["processing"]["chosen on"] == "other compounds and other plates"
    assert written["details"]["compounds_always_in_one_position"] == 0
    assert len(table) == obs.groupby(["plate", "well"]).ngroups
    hits = pd.read_csv(tmp_path / "hits.tsv", sep="\t")
    assert list(hits) == list(HIT_COLUMNS)
    assert len(hits) == 8
    assert (hits["q_value"] < 0.05).all()
    assert (hits["effect_size"] > 1.5).all()
    assert (hits["replicate_agreement"] > 0.5).all()
    assert (hits["cells"] == 4 * 8).all()
    assert (hits["nearest_mechanism"] == hits["mechanism"]).mean() > 0.7


def test_inactive_compounds_are_at_chance():
    gaps, p_values, effects = [], [], []
    for seed in range(50):
        obs, vectors = screen(np.random.default_rng(seed), effect=0, mechanism=0, cells=1)
        wells = average_wells(Cells(vectors, obs), "mean")
        processed = process(wells, Processing())
        found = retrieval(wells.about, processed, wells.treated)
        gaps.append((found["compound_map"] - found["compound_map_chance"]).mean())
        if seed < 25:
            scaled = process(wells, Processing(sphere="none"))
            table = hit_table(wells, processed, scaled, seed=seed)
            p_values += table["p_value"].tolist()
            effects.append(table["effect_size"].mean())
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(len(gaps))
    assert np.mean(effects) == pytest.approx(1, abs=0.15)
    assert np.mean(np.array(p_values) < 0.05) < 0.08
    assert 0.4 < np.mean(p_values) < 0.6


def test_compounds_that_act_with_mechanisms_dealt_at_random_are_at_chance(monkeypatch):
    """A model that knows compounds and no mechanism: wells of another compound come all together."""
    exchanged, independent = [], []
    for seed in range(60):
        obs, vectors = screen(np.random.default_rng(seed), plates=3, compounds=16, wells=4, mechanism=0, cells=1)
        wells = average_wells(Cells(vectors, obs), "mean")
        processed = {Processing(): process(wells, Processing())}
        for gaps, exchanges in ((exchanged, 30), (independent, 0)):
            monkeypatch.setattr(perturbation, "EXCHANGES", exchanges)
            found = cross_scored(wells, processed, seed=seed)[0]
            gaps.append(
                [(found[name] - found[f"{name}_chance"]).mean() for name in ("mechanism_map", "mechanism_nearest")]
            )
        assert found["compound_map"].mean() > 0.5
    error = np.std(exchanged, axis=0) / np.sqrt(len(exchanged))
    assert (abs(np.mean(exchanged, axis=0)) < 3 * error).all()
    # Wells ranked independently would be too low a bar.
    assert np.mean(independent, axis=0)[0] > 4 * error[0]


def test_the_chance_of_mechanisms_is_the_mean_over_partners():
    """Four compounds of two equal wells on each of three plates, and two mechanisms: any other may be the partner."""
    compound, plate = np.repeat(np.arange(4), 6), np.tile(np.repeat(np.arange(3), 2), 4)
    # Of each compound one of the others is nearest, another second, the last third.
    alike = np.array([[9, 3, 2, 1], [3, 9, 1, 2], [2, 1, 9, 3], [1, 2, 3, 9]])[compound][:, compound]
    allowed = (compound[:, None] != compound) & (plate[:, None] != plate)
    ranking, total = rank_among(alike.astype(float), allowed), allowed.sum(axis=1)
    chance, nearest = exchanged_chance(ranking, total, compound, compound // 2, exchanges=2000, seed=0)
    places = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]])
    assert chance == pytest.approx((np.arange(1, 5) / places).mean(), abs=0.02)
    assert nearest == pytest.approx(1 / 3, abs=0.04)
    # Mechanisms of one compound each stay where they are: only the pairs 0-1 and 2-3 can be asked for.
    alone = exchanged_chance(ranking, total, compound, np.array([0, 0, 1, 2])[compound], exchanges=5, seed=0)[0]
    assert (alone[compound < 2] == 1).all()
    assert np.isnan(alone[compound >= 2]).all()


def test_a_perfect_ranking_among_few_controls_is_no_evidence():
    obs, vectors = screen(np.random.default_rng(0), plates=2, wells=1, controls=2, effect=8, plate=0)
    wells = average_wells(Cells(vectors, obs), "mean")
    table = hit_table(wells, wells.vectors, wells.vectors)
    assert table["activity_map"].max() == 1
    # One right well and two controls: a third of all rankings are perfect.
    assert table["p_value"].min() == pytest.approx(1 / 3, abs=0.02)


def test_the_way_of_processing_is_chosen_on_what_is_not_scored():
    """A way that fits the scored compounds alone is not chosen: what they do must not be seen."""
    obs, vectors = screen(np.random.default_rng(1), effect=1, mechanism=0)
    wells = average_wells(Cells(vectors, obs), "mean")
    half = wells.about["compound"].map(halves(obs.loc[obs["control"].isna(), "compound"].unique())).to_numpy(float)
    honest = process(wells, Processing())
    # A second way that knows the answer for the compounds of the first half only, and nothing for the others.
    rng = np.random.default_rng(2)
    codes = pd.factorize(wells.about["compound"])[0]
    knowing = rng.normal(size=(codes.max() + 1, NUMBERS))[codes]
    spoilt = np.where((half == 0)[:, None], knowing, rng.normal(size=honest.shape))
    ways = {Processing(): honest, Processing("median"): spoilt}
    _, choices = cross_scored(wells, ways)
    # For half 1 the second half was tuned on, where the second way knows nothing.
    assert choices["half 1"] == Processing().words
    assert choices["half 2"] == Processing("median").words


def layouts(compounds, plates):
    """Compound and plate of each well where every plate holds all of these compounds."""
    return zip(*((compound, plate) for plate in plates for compound in compounds), strict=True)


def test_replicates_of_a_layout_stay_together():
    """Two layouts on two plates each: plates dealt by themselves parted all replicates, and no compound was scored."""
    first, second = layouts("abcd", ("A1", "A2")), layouts("efgh", ("B1", "B2"))
    compounds, plates = (list(one) + list(other) for one, other in zip(first, second, strict=True))
    dealt = halve_screen(compounds, plates)
    assert dealt.plates["A1"] == dealt.plates["A2"] != dealt.plates["B1"] == dealt.plates["B2"]
    assert {dealt.compounds[name] for name in "abcd"} == {dealt.plates["A1"]}
    assert {dealt.compounds[name] for name in "efgh"} == {dealt.plates["B1"]}


def test_plates_of_one_layout_are_halved_where_each_half_has_replicates():
    dealt = halve_screen(*layouts("abcdef", ("p1", "p2", "p3", "p4", "p5")))
    assert sorted(dealt.plates.values()) == [0, 0, 0, 1, 1]
    assert sorted(dealt.compounds.values()) == [0, 0, 0, 1, 1, 1]
    few = halve_screen(*layouts("abcdef", ("p1", "p2", "p3")))
    assert few.plates is None
    assert few.why
    # One compound that stands on two plates, one in each half, would be lost.
    compounds, plates = map(list, layouts("abcdef", ("p1", "p2", "p3", "p4")))
    half = halves(["p1", "p2", "p3", "p4"])
    lonely = [next(name for name, number in half.items() if number == side) for side in (0, 1)]
    assert halve_screen([*compounds, "x", "x"], [*plates, *lonely]).plates is None


def test_a_screen_of_several_layouts_loses_no_compound(tmp_path):
    rng = np.random.default_rng(5)
    one, seen = screen(rng, plates=2)
    other, too = screen(rng, plates=2)
    other = other.assign(
        plate="q" + other["plate"],
        field_id="q" + other["field_id"],
        compound=other["compound"].replace("C", "D", regex=True),
    )
    other.index = "q" + other.index
    obs, vectors = pd.concat([one, other]), np.concatenate([seen, too])
    scores, written, table = score(perturbation, tmp_path, obs, vectors)
    assert written["settings"]["processing"]["chosen on"] == "other compounds and other plates"
    assert scores["compound_map"]["n"] == 16
    assert scores["compound_map"]["value"] > scores["compound_map"]["chance"] + 0.2
    assert table.loc[table["control"].isna(), "compound_map"].notna().all()


def test_a_well_does_not_meet_its_own_plate_nor_a_mechanism_its_own_compound():
    about = pd.DataFrame(
        {
            "plate": ["p1", "p1", "p2", "p2", "p2"],
            "well": ["A1", "A2", "A1", "A2", "A3"],
            "compound": ["a", "a", "a", "b", "c"],
            "mechanism": ["m", "m", "m", "m", "other"],
        },
        index=["p1|A1", "p1|A2", "p2|A1", "p2|A2", "p2|A3"],
    )
    vectors = np.array([[1, 0.0], [1, 0.01], [1, 0.9], [1, 0.1], [1, 0.5]])
    found = retrieval(about, vectors, np.ones(5, bool))
    # On p2, a is third after b and c.
    assert found.loc["p1|A1", "compound_map"] == pytest.approx(1 / 3)
    assert found.loc["p1|A1", "compound_nearest"] == 0
    # With a left out, b is first.
    assert found.loc["p1|A1", "mechanism_map"] == 1
    assert found.loc["p1|A1", "mechanism_nearest"] == 1
    assert np.isnan(found.loc["p2|A2", "compound_map"])


def test_what_a_position_does_shows_beside_compounds(tmp_path):
    rng = np.random.default_rng(3)
    obs, vectors = screen(rng, effect=0, mechanism=0)
    places = {well: rng.normal(0, 3, NUMBERS) for well in obs["well"].unique()}
    moved = vectors + np.array([places[well] for well in obs["well"]])
    scores, _, _ = score(perturbation, tmp_path, obs, moved, processing={"sphere": "none"})
    assert scores["position_map"]["value"] > 0.8
    assert scores["compound_map"]["value"] < scores["compound_map"]["chance"] + 0.15
    # Treated wells find wells of other compounds in their place, which says the same without controls.
    treated = score(perturbation, tmp_path, obs[obs["control"].isna()], moved[obs["control"].isna()])[0]
    assert treated["treated_position_map"]["low"] > treated["treated_position_map"]["chance"] + 0.3
    assert "position_map" not in treated
    still = score(perturbation, tmp_path, obs, vectors, processing={"sphere": "none"})[0]["treated_position_map"]
    assert still["value"] == pytest.approx(still["chance"], abs=0.05)


def test_compounds_that_never_move_cannot_be_asked_for_their_place(tmp_path):
    obs, vectors = screen(np.random.default_rng(0), controls=0)
    order = obs.groupby("plate", sort=False)["well"].transform(lambda wells: pd.factorize(wells)[0])
    scores, written, _ = score(perturbation, tmp_path, obs.assign(well=order.astype(str)), vectors)
    # Two wells of each compound, the same on every plate.
    assert written["details"]["compounds_always_in_one_position"] == 1
    assert "treated_position_map" not in scores


def test_a_screen_without_control_wells_says_what_is_missing(tmp_path):
    obs, vectors = screen(np.random.default_rng(0), controls=2)
    _, with_controls, _ = score(perturbation, tmp_path / "a", obs, vectors, processing={})
    assert "controls" not in with_controls["settings"]
    unnamed = obs.assign(control=obs["control"].map({"negative": "positive"}))
    _, without, _ = score(perturbation, tmp_path / "b", unnamed, vectors, processing={})
    assert without["status"] == "ok"
    assert without["settings"]["controls"].startswith("no control wells")


def test_the_plate_alone_knows_no_compound(tmp_path):
    """Of the control that sees plates nothing is left once they are scaled; every other well is as near as any."""
    obs, _ = screen(np.random.default_rng(5))
    plates = pd.get_dummies(obs["plate"]).to_numpy(float)
    scores, written, _ = score(perturbation, tmp_path, obs, plates)
    assert not written["reason"]
    found = scores["compound_map"]
    assert found["low"] <= found["chance"] + 0.05
    assert found["value"] < found["chance"] + 0.05


def test_perfect_features_are_found(tmp_path):
    obs, _ = screen(np.random.default_rng(0))
    scores, _, _ = score(perturbation, tmp_path, obs, perturbation.perfect_features(obs))
    assert scores["compound_map"]["value"] > 0.99
    assert scores["mechanism_map"]["value"] > 0.9


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda obs: obs.drop(columns="plate"), "needs plate and well"),
        (lambda obs: obs.drop(columns="compound"), "needs compound"),
        (lambda obs: obs[obs["plate"] == "p0"], "needs 4 compounds on two plates or more (found 0)"),
    ],
)
def test_what_is_missing_is_said(tmp_path, change, reason):
    obs, vectors = screen(np.random.default_rng(0))
    part = change(obs)
    kept = vectors[obs.index.isin(part.index)]
    _, written, _ = score(perturbation, tmp_path, part, kept, out_hits=tmp_path / "hits.tsv")
    assert written["status"] == "not run"
    assert written["reason"] == reason
    assert list(pd.read_csv(tmp_path / "hits.tsv", sep="\t")) == list(HIT_COLUMNS)


def test_plates_are_scaled_each_by_itself():
    vectors = np.concatenate([np.random.default_rng(0).normal(size=(9, 3)), 100 + 7 * np.ones((9, 3))])
    vectors[9:, 0] += np.arange(9)
    plate = np.repeat(["a", "b"], 9)
    for how in ("standard", "robust"):
        scaled = scale_plates(vectors, plate, how)
        assert np.median(scaled[:9], axis=0) == pytest.approx(0, abs=1)
        assert (scaled[9:, 1:] == 0).all()
        assert np.isfinite(scaled).all()


def test_controls_become_round():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 4)) @ np.diag([10, 1, 1, 0.1]) @ rng.normal(size=(4, 4))
    controls = np.arange(400) < 300
    for by_deviation in (False, True):
        covariance = np.cov(sphere(vectors, controls, by_deviation=by_deviation)[controls], rowvar=False)
        assert np.linalg.cond(covariance) < np.linalg.cond(np.cov(vectors[controls], rowvar=False)) / 5


def test_a_repeated_feature_goes():
    values = np.random.default_rng(0).normal(size=(50, 3))
    vectors = np.column_stack([values, values[:, 0] * 2, np.ones(50)])
    kept = select_features(vectors)
    assert kept.sum() == 3
    assert not kept[4]
    assert kept[0] != kept[3]


def test_average_precision_is_that_of_copairs():
    rng = np.random.default_rng(0)
    meta = pd.DataFrame({"compound": rng.integers(0, 6, 60).astype(str), "plate": rng.integers(0, 3, 60).astype(str)})
    vectors = rng.normal(size=(60, 5))
    theirs = average_precision(meta, vectors, ["compound"], ["plate"], [], ["compound", "plate"], progress_bar=False)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same_plate = meta["plate"].to_numpy()[:, None] == meta["plate"].to_numpy()
    ours, nearest, _ = find_groups(rank_among(unit @ unit.T, ~same_plate), meta["compound"].to_numpy(int))
    first = np.where(same_plate, -np.inf, unit @ unit.T).argmax(axis=1)
    assert (nearest == (meta["compound"].to_numpy()[first] == meta["compound"])).all()
    assert ours == pytest.approx(theirs["average_precision"].to_numpy(float), abs=1e-6, nan_ok=True)


def test_perfect_features_are_a_ceiling_where_plates_hold_few_compounds(tmp_path):
    """As in BBBC021: each plate has control wells and two compounds, which must not be the measure of their plate."""
    rng = np.random.default_rng(0)
    rows = []
    for layout in range(6):
        for replicate in range(3):
            contents = [(f"C{2 * layout + n}", f"M{(2 * layout + n) % 4}", None) for n in (0, 0, 1, 1)]
            for place, (compound, mechanism, control) in enumerate([*contents, *[("DMSO", None, "negative")] * 4]):
                plate = f"P{layout}_{replicate}"
                about = {"plate": plate, "well": f"A{place}", "field_id": f"{plate}_A{place}", "dose": "1"}
                rows.append(about | {"compound": compound, "mechanism": mechanism, "control": control})
    obs = pd.DataFrame(rows)
    obs.index = pd.Index(obs["field_id"] + ":1", name="cell_id")
    scores, result, _ = score(perturbation, tmp_path, obs, perturbation.perfect_features(obs))
    assert scores["compound_map"]["value"] > 0.98
    assert scores["mechanism_map"]["value"] > 0.95
    assert result["settings"]["plates_scaled_on"] == "their control wells"
    few = obs.assign(control=obs["control"].where(~obs["well"].isin(["A5", "A6"]), "positive"))
    _, result, _ = score(perturbation, tmp_path / "few", few, rng.normal(size=(len(few), 5)))
    assert result["settings"]["plates_scaled_on"] == "all their wells: 18 plates have fewer than 3 control wells"


def test_wells_that_all_look_the_same_are_at_chance_in_any_order():
    """A collapsed model; and of wells of which some look the same, each order is as likely."""
    rng = np.random.default_rng(0)
    compound, plate = np.repeat(np.arange(3), 4), np.tile([0, 0, 1, 1], 3)
    about = pd.DataFrame({"compound": compound.astype(str), "mechanism": None, "plate": plate.astype(str)})
    for order in (np.arange(12), rng.permutation(12)):
        found = retrieval(about.iloc[order], np.ones((12, 3)), np.ones(12, bool))
        assert found["compound_map"].to_numpy(float) == pytest.approx(found["compound_map_chance"].to_numpy(float))
        assert found["compound_nearest"].to_numpy(float) == pytest.approx(
            found["compound_nearest_chance"].to_numpy(float)
        )
    apart = plate[:, None] != plate
    similarity = rng.integers(0, 3, (12, 12)).astype(float)
    drawn = [find_groups(rank_among(similarity + 1e-3 * rng.random((12, 12)), apart), compound) for _ in range(3000)]
    for measured, orders in zip(
        find_groups(rank_among(similarity, apart), compound), zip(*drawn, strict=True), strict=True
    ):
        assert measured == pytest.approx(np.mean(orders, axis=0), abs=0.03)


def test_a_model_that_sees_nothing_has_no_hits():
    """All wells the same: the order of rows must not make treated wells find each other before the control wells."""
    obs, vectors = screen(np.random.default_rng(0))
    wells = average_wells(Cells(np.ones_like(vectors), obs), "mean")
    table = hit_table(wells, wells.vectors, wells.vectors, seed=0)
    assert table["p_value"].min() > 0.05


def test_there_are_24_ways():
    assert len({way.words for way in grid()}) == 24


def test_stains_that_took_their_turn_as_the_protein_are_scored_together(tmp_path):
    """Three files of vectors, one a stain, of which each knows a third of what a compound does."""
    obs, vectors = screen(np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(len(obs))
    paths = []
    for number in range(3):
        rows = order if number else np.arange(len(obs))
        part = vectors[rows][:, number::3]
        paths.append(write_cells(tmp_path / f"stain{number}.h5ad", obs.iloc[rows], part))
    import_cells(paths, tmp_path / "joined.h5ad", model="three", log=lambda line: None)
    joined = read_cells(tmp_path / "joined.h5ad")
    assert joined.features.shape == vectors.shape
    together, _, _ = score(perturbation, tmp_path / "a", joined.obs, joined.features, processing={"sphere": "none"})
    alone, _, _ = score(perturbation, tmp_path / "b", obs, vectors[:, ::3], processing={"sphere": "none"})
    assert together["compound_map"]["value"] > alone["compound_map"]["value"]
