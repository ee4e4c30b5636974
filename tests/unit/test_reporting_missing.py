"""A run without a report says what would help: leaving benchmarks out does not where there is no cell to score."""

import pytest

from subcell.reporting.provenance.missing import missing_scores

BENCHMARKS = "leave that out of `benchmarks`"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine" / "vit").mkdir(parents=True)
    return tmp_path / "mine"


def said(folder, *, cells):
    lines = ["dataset\tcell_line\tmetric\tvalue\tunit", f"mine\t\tcells\t{cells}.0\t", "mine\tHeLa\tcells\t3.0\t"]
    if cells is not None:
        (folder / "quality.tsv").write_text("\n".join(lines) + "\n")
    return missing_scores(
        [folder / "vit" / "benchmarks" / f"{name}.json" for name in range(12)],
        vectors=[folder / "vit" / "cells.h5ad"],
        qualities=[folder / "quality.tsv"],
    )


def test_without_any_cell_no_benchmark_is_to_blame(folder):
    text = said(folder, cells=0)
    assert "12 of 12 are missing" in text
    assert f"No cell was found in any field of mine; {folder}/set_aside.tsv says why" in text
    assert BENCHMARKS not in text


@pytest.mark.parametrize("cells", [None, 40])
def test_before_anything_is_embedded_no_benchmark_is_to_blame(folder, cells):
    text = said(folder, cells=cells)
    assert "Nothing has been embedded yet" in text
    assert BENCHMARKS not in text


def test_a_benchmark_that_fails_may_be_left_out(folder):
    (folder / "vit" / "cells.h5ad").touch()
    assert BENCHMARKS in said(folder, cells=40)
