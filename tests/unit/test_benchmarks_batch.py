"""Variance components: planted ones are recovered, what a layout confounds is named, noise has none."""

import numpy as np
import pandas as pd
import pytest
from benchmark_example import headline, noise, one_hot, run_task, share_that_holds_chance, table_of_proteins

from subcell.benchmarks.statistics.variance import REST, components, design_of, shares
from subcell.benchmarks.tasks import batch

TABLE = table_of_proteins(32, cells=4, two_antibodies=0)


def planted(seed, sizes, *, antibodies=40, lines=6, plates=2, cells=6):
    """Numbers with effects of known variance: line, plate in line, antibody, well (antibody on a plate), cell."""
    rng = np.random.default_rng(seed)
    rows = [
        (line, f"{line}.{plate}", antibody, f"{line}.{plate}.{antibody}")
        for line in range(lines)
        for plate in range(plates)
        for antibody in range(antibodies)
        for _ in range(cells)
    ]
    frame = pd.DataFrame(rows, columns=["line", "plate", "antibody", "well"]).astype(str)
    values = np.zeros((len(frame), 8))
    for name, size in sizes.items():
        codes = pd.factorize(frame[name])[0] if name in frame else np.arange(len(frame))
        values += np.sqrt(size) * rng.normal(size=(codes.max() + 1, 8))[codes]
    return frame, values


def test_planted_components_are_recovered():
    sizes = {"line": 2.0, "plate": 1.0, "antibody": 3.0, "well": 0.5, REST: 4.0}
    found = []
    for seed in range(12):
        frame, values = planted(seed, sizes)
        design = design_of({name: frame[name] for name in ("line", "plate", "antibody", "well")})
        assert not design.confounded
        units = pd.factorize(frame["antibody"])[0]
        once = np.ones((1, units.max() + 1), np.int64)
        found.append(components(values - values.mean(axis=0), design.factors, units, once)[0] / 8)
    mean = dict(zip(sizes, np.mean(found, axis=0), strict=True))
    for name, size in sizes.items():
        assert mean[name] == pytest.approx(size, rel=0.25 if name == "line" else 0.15), name


def test_pairs_are_never_formed_but_counted_right():
    """The sums over levels are those over all pairs."""
    frame, values = planted(0, {"line": 1, "antibody": 1, REST: 1}, antibodies=4, lines=3, plates=1, cells=2)
    design = design_of({name: frame[name] for name in ("line", "antibody")})
    units = pd.factorize(frame["antibody"])[0]
    counts = np.array([[1, 1, 1, 1], [2, 0, 1, 1]])
    values = values - values.mean(axis=0)
    for row, found in zip(counts, components(values, design.factors, units, counts), strict=True):
        products, rows, weights = [], [], []
        for i in range(len(values)):
            for j in range(len(values)):
                if i != j:
                    products.append(values[i] @ values[j])
                    rows.append([1, *(codes[i] == codes[j] for codes in design.factors.values())])
                    weights.append(row[units[i]] if units[i] == units[j] else row[units[i]] * row[units[j]])
        scale = np.sqrt(np.array(weights, float))
        expected = np.linalg.lstsq(np.array(rows, float) * scale[:, None], np.array(products) * scale, rcond=None)[0]
        np.testing.assert_allclose(found[:-1], expected[1:], rtol=1e-6, atol=1e-9)


def test_what_a_layout_confounds_is_named():
    lines = pd.Series(list("AABBCC") * 2)
    design = design_of(
        {"line": lines, "plate": "P" + lines, "antibody": pd.Series(list("xyxyxy") * 2), "site": pd.Series(["1"] * 12)}
    )
    assert list(design.factors) == ["line = plate", "antibody"]
    assert "levels of line" in design.confounded["plate"]
    assert design.confounded["site"] == "it has one level"


def test_negative_components_count_as_none():
    found = shares(np.array([[3.0, -1.0, 1.0]]), ["line", "plate"])
    assert {name: values[0] for name, values in found.items()} == {"line": 0.75, "plate": 0.0, REST: 0.25}


def test_vectors_of_antibodies_and_vectors_of_plates_are_told_apart(tmp_path):
    proteins = run_task(batch, tmp_path, TABLE, one_hot(TABLE["antibody"]))
    plates = run_task(batch, tmp_path, TABLE, one_hot(TABLE["plate"]) + 0.25 * noise(len(TABLE), 3, 0))
    assert headline(proteins)["metric"] == headline(plates)["metric"] == "antibody_share"
    assert headline(proteins)["value"] > 0.8
    assert headline(plates)["value"] < 0.05
    scores = {metric["metric"]: metric["value"] for metric in plates["metrics"]}
    assert scores["line_and_plate_share"] > 0.6
    assert scores["plate_mixing"] < 0.1
    assert scores["harmony_plate_mixing"] > scores["plate_mixing"]
    assert "each plate holds one line" in plates["settings"]["harmony"]
    assert plates["settings"]["cells"] == "those of held-out antibodies"


def test_noise_has_no_antibody(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "harmonised", lambda *_, **__: (None, "not run"))
    monkeypatch.setattr(batch, "plate_mixing", lambda *_, **__: 1.0)
    few = table_of_proteins(24, cells=2, two_antibodies=0)
    assert share_that_holds_chance(batch, tmp_path, few, lambda seed: noise(len(few), 6, seed), bootstraps=50) >= 0.9


def test_mixed_plates_mix_as_by_chance(tmp_path):
    result = run_task(batch, tmp_path, TABLE, noise(len(TABLE), 5, 0))
    scores = {metric["metric"]: metric["value"] for metric in result["metrics"]}
    assert scores["plate_mixing"] == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"antibody": None}, "needs antibody"),
        ({"plate": None, "well": None, "field_id": None}, "needs antibody, and plate"),
    ],
)
def test_what_it_lacks(tmp_path, change, reason):
    result = run_task(batch, tmp_path, TABLE.assign(**change), noise(len(TABLE), 2, 0))
    assert result["status"] == "not run"
    assert result["reason"].startswith(reason)


def test_of_many_cells_the_same_are_scored_before_and_after_harmony(tmp_path, monkeypatch):
    """There Harmony was left out, and neighbours were looked for among other cells than were corrected."""
    monkeypatch.setattr(batch, "MOST_CELLS", 120)
    seen = []
    monkeypatch.setattr(batch, "plate_mixing", lambda vectors, part: seen.append(list(part.obs.index)) or 1.0)
    result = run_task(batch, tmp_path, TABLE, one_hot(TABLE["plate"]) + noise(len(TABLE), 3, 0))
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert len(seen[0]) == result["details"]["cells"] == 120
    assert "; 120 of " in result["settings"]["cells"]
    assert "harmony_antibody_and_well_share" in {metric["metric"] for metric in result["metrics"]} or any(
        metric["metric"].startswith("harmony_") and metric["metric"].endswith("_share") for metric in result["metrics"]
    )
