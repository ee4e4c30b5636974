"""Transcriptome: lines that look as they express are found, others are at chance, and the test is exact for few lines."""

import numpy as np
import pandas as pd
import pytest
from planted_cells import score
from scipy.stats import kstest
from skbio.stats.distance import mantel as skbio_mantel

from subcell.benchmarks.inputs.expression import read_expression, same_lines
from subcell.benchmarks.probes.frozen import Cells
from subcell.benchmarks.statistics.mantel import mantel
from subcell.benchmarks.tasks import transcriptome
from subcell.benchmarks.tasks.transcriptome import (
    Wells,
    cca_matches,
    cosines,
    exchanged_matches,
    principal_components,
    well_profiles,
)
from subcell.errors import SheetError

LINES = ("A-431", "HEK293", "HeLa", "Hep-G2", "MCF-7", "SiHa", "U-2 OS", "U-251MG")


def design(rng, *, antibodies=40, lines=LINES):
    """Wells as in the Atlas: every antibody in U-2 OS and in one other line."""
    others = [line for line in lines if line != "U-2 OS"]
    rows = []
    for number in range(antibodies):
        for line in ("U-2 OS", others[number % len(others)]):
            for cell in range(3):
                rows.append(
                    {
                        "cell_id": f"{line}_{number}:{cell}",
                        "field_id": f"{line}_{number}",
                        "plate": f"P{line}",
                        "well": f"W{number}",
                        "cell_line": line,
                        "antibody": f"HPA{number:05d}",
                        "cell_area_um2": 100 + 10 * lines.index(line) + rng.normal(),
                        "cells_in_field": 5 + lines.index(line) % 3,
                    }
                )
    return pd.DataFrame(rows).set_index("cell_id")


def planted(rng, *, genes=60, numbers=24, effect=1.0, lines=LINES):
    """Cells whose vector is the sum of their antibody, `effect` times their line's expression, and noise."""
    obs = design(rng, lines=lines)
    expression = pd.DataFrame(
        rng.normal(5, 1, (len(lines), 3)) @ rng.normal(0, 1, (3, genes)) + 20, pd.Index(lines, name="cell_line")
    ).clip(lower=0)
    expression.columns = [f"ENSG{number:05d}" for number in range(genes)]
    parts = (expression - expression.mean()).to_numpy() @ rng.normal(0, 0.2, (genes, numbers))
    # An antibody differs from another far more than a line from another.
    antibodies = rng.normal(0, 5, (obs["antibody"].nunique(), numbers))
    vectors = (
        antibodies[pd.factorize(obs["antibody"])[0]]
        + effect * parts[[lines.index(line) for line in obs["cell_line"]]]
        + rng.normal(0, 0.2, (len(obs), numbers))
    )
    return obs, vectors, expression


def test_lines_that_look_as_they_express_are_found(tmp_path):
    obs, vectors, expression = planted(np.random.default_rng(0))
    expression.to_parquet(tmp_path / "expression.parquet")
    scores, written, table = score(transcriptome, tmp_path, obs, vectors, truth=tmp_path)
    assert next(iter(scores)) == "mantel_r"
    assert scores["mantel_r"]["value"] > 0.8
    assert scores["mantel_r"]["low"] > 0
    assert scores["mantel_p"]["value"] == written["details"]["p_value"] < 0.01
    assert scores["partial_mantel_r"]["value"] > 0.8
    assert scores["cca_match"]["value"] > scores["cca_match"]["chance"]
    assert 0 < scores["cca_match"]["chance"] < 1 / len(LINES)
    assert written["settings"]["exact"]
    assert len(written["replicates"]["mantel_r"]) == 100
    assert written["details"]["plates_hold_one_line"]
    assert len(table) == len(LINES) * (len(LINES) - 1) / 2


def test_without_an_effect_of_the_line_it_is_at_chance():
    tests = []
    for seed in range(50):
        obs, vectors, expression = planted(np.random.default_rng(seed), effect=0, lines=("U-2 OS", *LINES[:5]))
        wells = well_profiles(Cells(vectors.astype(np.float32), obs))
        assert list(wells.lines) == sorted(expression.index)
        seen, wanted = (
            cosines(principal_components(values, 10))
            for values in (wells.effects(), expression.loc[list(wells.lines)].to_numpy())
        )
        tests.append(mantel(seen, wanted))
    values = np.array([test.r for test in tests])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert kstest([test.p for test in tests], "uniform").pvalue > 0.01


def test_lines_are_matched_at_random_as_often_as_exchanged_ones():
    found, expected, lines = [], [], 6
    rng = np.random.default_rng(0)
    for seed in range(120):
        sides = [principal_components(rng.normal(size=(lines, 20)), 2) for _ in range(2)]
        found.append(cca_matches(*sides).mean())
        expected.append(exchanged_matches(*sides, exchanges=2, seed=seed))
    gaps = np.subtract(found, expected)
    assert abs(gaps.mean()) < 3 * gaps.std() / np.sqrt(len(gaps))
    # One in as many as there are lines would be too high a bar.
    assert 1 / lines - np.mean(found) > 3 * np.std(found) / np.sqrt(len(found))


def test_p_values_are_uniform_on_null_data():
    rng = np.random.default_rng(1)
    exact = [mantel(*(cosines(rng.normal(size=(6, 4))) for _ in range(2))).p for _ in range(200)]
    drawn = [
        mantel(*(cosines(rng.normal(size=(10, 4))) for _ in range(2)), orders=199, seed=seed).p for seed in range(200)
    ]
    partial = [
        mantel(
            *(cosines(rng.normal(size=(10, 4))) for _ in range(2)),
            given=cosines(rng.normal(size=(10, 4))),
            orders=199,
            seed=seed,
        ).p
        for seed in range(200)
    ]
    for values in (exact, drawn, partial):
        assert kstest(values, "uniform").pvalue > 0.01


def test_mantels_correlation_is_scikit_bios():
    rng = np.random.default_rng(2)
    one, other = (cosines(rng.normal(size=(12, 4))) for _ in range(2))
    ours = mantel(one, one + other, orders=999)
    distances = [1 - one, 2 - one - other]
    for table in distances:
        np.fill_diagonal(table, 0)
    theirs = skbio_mantel(*distances, permutations=999, alternative="greater", seed=0)
    assert ours.r == pytest.approx(theirs[0])
    assert ours.p == pytest.approx(theirs[1], abs=0.02)
    assert not ours.exact


def test_the_partial_test_takes_out_what_is_given():
    rng = np.random.default_rng(3)
    confounder, one, other = (cosines(rng.normal(size=(9, 3))) for _ in range(3))
    both = (one + 3 * confounder, other + 3 * confounder)
    assert mantel(*both).r > 0.7
    assert abs(mantel(*both, given=np.stack([confounder, np.eye(9)])).r) < 0.5
    assert np.isnan(mantel(np.ones((5, 5)), np.eye(5)).r)


def test_effects_of_lines_are_those_of_matched_antibodies():
    # Two antibodies stained in U-2 OS and HeLa, one in U-2 OS and HEK293; their own levels differ widely.
    means = np.array([[10.0], [12.0], [50.0], [52.0], [7.0], [4.0]])
    antibody = np.array(["a", "a", "b", "b", "c", "c"])
    line = np.array(["U-2 OS", "HeLa", "U-2 OS", "HeLa", "U-2 OS", "HEK293"])
    wells = Wells(means, antibody, line)
    effects = dict(zip(wells.lines, wells.effects()[:, 0], strict=True))
    assert effects["HeLa"] - effects["U-2 OS"] == pytest.approx(2)
    assert effects["HEK293"] - effects["U-2 OS"] == pytest.approx(-3)
    assert np.isnan(wells.effects(np.array([1, 1, 0]))).all()


def test_lines_without_a_shared_antibody_are_left_out():
    wells = Wells(np.zeros((5, 1)), np.array(list("aabbc")), np.array(["x", "y", "y", "z", "alone"]))
    assert list(wells.lines) == ["x", "y", "z"]
    assert list(wells.antibodies) == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda obs: obs.drop(columns="cell_line"), "needs cell_line and antibody"),
        (lambda obs: obs[obs["cell_line"].isin(["U-2 OS", "HeLa"])], "needs 5 cell lines"),
        (lambda obs: obs[obs["cell_line"] == "HeLa"], "needs 5 cell lines with expression that shared antibodies"),
        (lambda obs: obs.assign(cell_line="X" + obs["cell_line"]), "needs 5 cell lines"),
    ],
)
def test_what_is_missing_is_said(tmp_path, change, reason):
    obs, vectors, expression = planted(np.random.default_rng(0))
    expression.to_parquet(tmp_path / "expression.parquet")
    part = change(obs)
    _, written, _ = score(transcriptome, tmp_path, part, vectors[obs.index.isin(part.index)], truth=tmp_path)
    assert written["status"] == "not run"
    assert written["reason"].startswith(reason)


def test_without_expression_it_is_not_run(tmp_path):
    obs, vectors, _ = planted(np.random.default_rng(0))
    _, written, _ = score(transcriptome, tmp_path, obs, vectors)
    assert written["reason"] == "needs a table of expression"


def test_perfect_features_are_the_expression(tmp_path):
    obs, _, expression = planted(np.random.default_rng(0))
    expression.to_parquet(tmp_path / "expression.parquet")
    vectors = transcriptome.perfect_features(obs, truth=tmp_path)
    scores, _, _ = score(transcriptome, tmp_path, obs, vectors, truth=tmp_path)
    assert scores["mantel_r"]["value"] == pytest.approx(1, abs=1e-6)
    assert scores["cca_match"]["value"] == 1


def test_the_atlas_long_table_is_read(tmp_path):
    path = tmp_path / "rna_celline.tsv"
    path.write_text(
        "Gene\tGene name\tCell line\tTPM\tpTPM\tnTPM\n"
        + "".join(f"ENSG{g}\tN{g}\t{line}\t{g * 2 + 1}\t0\t0\n" for g in (0, 1) for line in ("U2OS", "HeLa"))
    )
    table = read_expression(path)
    assert table.loc["U2OS"].tolist() == [1.0, 2.0]
    assert same_lines(["U-2 OS", "SiHa"], table.index) == {"U-2 OS": "U2OS"}
    path.write_text("cell_line\tG1\nHeLa\thigh\n")
    with pytest.raises(SheetError, match="'high' is not a number"):
        read_expression(path)


def test_components_are_fewer_than_lines():
    vectors = np.random.default_rng(0).normal(size=(6, 30))
    assert principal_components(vectors, 10).shape == (6, 4)
    assert principal_components(np.ones((6, 3)), 10).shape == (6, 1)
