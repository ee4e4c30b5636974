"""Perfect features: few numbers however many genes there are, and nothing is lost by it."""

from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from benchmark_example import headline, run_task, table_of_proteins
from planted_cells import score

from subcell.benchmarks.guards.name_codes import MOST, name_codes
from subcell.benchmarks.tasks import batch, retrieval, transcriptome
from subcell.config.suite import SUITE

MANY = 600
TABLE = table_of_proteins(MANY, cells=1)
"""More genes and antibodies than columns."""


def expression_of_lines(folder, lines, genes=2000):
    table = pd.DataFrame(np.random.default_rng(0).gamma(2, 2, (len(lines), genes)), pd.Index(lines, name="cell_line"))
    table.columns = [f"ENSG{number:05d}" for number in range(genes)]
    table.to_parquet(folder / "expression.parquet")
    return folder


@pytest.mark.parametrize("name", [name for name, task in SUITE.items() if task.controls])
def test_they_are_few_whatever_there_is_to_know(name, tmp_path):
    """A million cells are held with them: a column a gene would take 60 GB."""
    truth = expression_of_lines(tmp_path, sorted(TABLE["cell_line"].unique()))
    genes = TABLE["gene"].unique()
    complexes = pd.DataFrame({"complex": [f"C{n // 2}" for n in range(MANY)], "gene": genes, "separable": "true"})
    complexes.to_csv(truth / "complexes.tsv", sep="\t", index=False)
    obs = TABLE.assign(compound=TABLE["gene"], mechanism="M" + TABLE["gene"].str[:2])
    more = {"truth": truth} if name in ("transcriptome", "interactions") else {}
    vectors = import_module(f"subcell.benchmarks.tasks.{name}").perfect_features(obs, **more)
    assert vectors.dtype == np.float32
    assert len(vectors) == len(obs)
    assert 1 < vectors.shape[1] <= MOST == 512


@pytest.mark.parametrize("task", [retrieval, batch])
def test_with_more_names_than_columns_they_score_as_perfect(task, tmp_path, monkeypatch):
    monkeypatch.setattr(retrieval, "NULLS", 9)
    assert TABLE["antibody"].nunique() > MOST
    result = run_task(task, tmp_path, TABLE, task.perfect_features(TABLE))
    assert headline(result)["value"] > 0.97


def test_expression_loses_nothing(tmp_path):
    """Lines without a shared antibody or without expression are not scored, and must not change what is standardised."""
    lines = tuple(f"L{number:02d}" for number in range(12))
    rows = [(line, n) for n, line in enumerate(lines[1:-1] * 3) for line in (lines[0], line)]
    obs = pd.DataFrame(rows, columns=["cell_line", "antibody"]).astype(str)
    obs.loc[len(obs)] = [lines[-1], "alone"]
    obs["field_id"] = [f"f{n}" for n in range(len(obs))]
    obs.index = pd.Index(obs["field_id"] + ":1", name="cell_id")
    truth = expression_of_lines(tmp_path, [*lines[:5], *lines[6:]])
    vectors = transcriptome.perfect_features(obs, truth=truth)
    assert vectors.shape[1] == 16
    scores, result, _ = score(transcriptome, tmp_path, obs, vectors, truth=truth)
    assert result["details"]["lines"] == [line for line in lines[:-1] if line != lines[5]]
    assert scores["mantel_r"]["value"] == pytest.approx(1, abs=1e-6)


def test_names_have_a_column_each_until_there_are_too_many():
    few = name_codes(pd.Series(["b", None, "a", "b"]))
    assert few.tolist() == [[1, 0], [0, 0], [0, 1], [1, 0]]
    names = pd.Series([None, *(str(n % MANY) for n in range(2 * MANY))])
    many = name_codes(names)
    assert many.shape == (2 * MANY + 1, MOST)
    assert not many[0].any()
    assert np.array_equal(many[1 : MANY + 1], many[MANY + 1 :])
    unit = many[1 : MANY + 1] / np.linalg.norm(many[1 : MANY + 1], axis=1, keepdims=True)
    assert np.abs(unit @ unit.T - np.eye(MANY)).max() < 0.3
