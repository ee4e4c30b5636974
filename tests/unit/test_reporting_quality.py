"""Counts of a dataset, and everything that was set aside."""

import pandas as pd
import pytest
import report_example as example

from subcell.catalog.set_aside import read_set_aside, set_aside_table, write_set_aside
from subcell.reporting.quality.quality import QUALITY_COLUMNS, collect_quality, quality_table


@pytest.fixture
def collected(tmp_path):
    """Six fields: four fine, one without cells, one whose protein image could not be had; two rows of the sheet refused."""
    fields = example.example_fields([f"f{i}" for i in range(6)], cell_line=["A", "A", "B", "B", "B", None])
    inputs = example.write_quality_inputs(tmp_path, fields.drop(5))
    example.write_fields(fields, tmp_path / "fields.parquet")
    example.write_ledger_only(tmp_path / "images", [f"f{i}" for i in range(5)], failed={"f5": "404 not found"})
    qc = pd.read_parquet(tmp_path / "qc.parquet")
    repeated = pd.DataFrame([{"field_id": "f5", "status": "set aside", "reason": "no protein image"}])
    pd.concat([qc, repeated]).to_parquet(tmp_path / "qc.parquet")
    collect_quality(
        **inputs, out_set_aside_tsv=tmp_path / "aside.tsv", out_quality_tsv=tmp_path / "quality.tsv", dataset="mine"
    )
    return tmp_path


def values(path, line: str) -> dict[str, float]:
    table = pd.read_csv(path / "quality.tsv", sep="\t", keep_default_na=False)
    assert tuple(table.columns) == QUALITY_COLUMNS
    assert set(table["dataset"]) == {"mine"}
    part = table[table["cell_line"] == line]
    return dict(zip(part["metric"], part["value"].astype(float), strict=True))


def test_known_counts(collected):
    total = values(collected, "")
    assert total["fields_in_sheet"] == 8
    assert total["fields_segmented"] == 4
    assert total["fields_without_cells"] == 1
    assert total["fields_set_aside"] == 3
    assert total["cells"] == 16
    assert total["cells_per_field_median"] == 4
    assert total["cells_touching_border_share"] == 0.25
    assert total["cell_lines"] == 2
    assert total["genes"] == 3
    cells = pd.read_parquet(collected / "cells.parquet")
    assert total["nucleus_area_median"] == pytest.approx(cells["nucleus_area_um2"].median())


def test_cells_left_out_at_the_border_are_counted(collected):
    assert "cells_left_out_at_border" not in values(collected, "")
    inputs = {name: collected / f"{name.split('_')[0]}.parquet" for name in ("qc_paths", "cells_paths", "fields_paths")}
    collect_quality(
        collected / "sheet.tsv", collected / "images", **inputs, border_cells="drop", dataset="mine",
        out_set_aside_tsv=collected / "aside.tsv", out_quality_tsv=collected / "quality.tsv",
    )  # fmt: skip
    assert values(collected, "")["cells_left_out_at_border"] == 4
    assert values(collected, "A")["cells_left_out_at_border"] == 2


def test_agreement_of_two_segmenters_is_told(collected):
    qc = pd.read_parquet(collected / "qc.parquet").assign(agreement_f1=[0.5, 0.7, 0.9, 0.9, None, None])
    cells = pd.read_parquet(collected / "cells.parquet")
    fields = example.example_fields([f"f{i}" for i in range(6)])
    table = quality_table(read_set_aside(collected / "aside.tsv"), qc, cells, fields, dataset="mine")
    total = table[table["cell_line"] == ""].set_index("metric")["value"]
    assert total["agreement_f1_mean"] == pytest.approx(0.75)


def test_lines_add_up_to_what_was_catalogued(collected):
    lines = [values(collected, line) for line in ("A", "B", "not given")]
    assert [line["fields_segmented"] for line in lines] == [2, 2, 0]
    assert [line["fields_set_aside"] for line in lines] == [0, 0, 1]
    assert sum(line["fields_in_sheet"] for line in lines) == 6
    assert sum(line["cells"] for line in lines) == 16


def test_each_field_is_set_aside_once_with_its_first_reason(collected):
    table = read_set_aside(collected / "aside.tsv")
    assert list(table["stage"]) == ["sheet", "sheet", "download", "segment"]
    assert list(table["field_id"]) == ["far_away", "f0", "f5", "f4"]
    assert table["reason"].iloc[2] == "protein: 404 not found"
    assert table["row"].iloc[0] == 7


def test_field_that_could_not_be_cropped_is_set_aside(collected):
    rows = [{"field_id": "f0", "stage": "crop", "reason": "no pixel size"}]
    write_set_aside(set_aside_table(rows), collected / "crops.tsv")
    collect_quality(
        [collected / "sheet.tsv", collected / "crops.tsv"],
        collected / "images",
        collected / "qc.parquet",
        collected / "cells.parquet",
        collected / "aside.tsv",
        collected / "quality.tsv",
        dataset="mine",
    )
    total = values(collected, "")
    assert total["fields_in_sheet"] == 8
    assert total["fields_segmented"] == 3
    assert total["fields_set_aside"] == 4
    assert total["cells"] == 12
    assert "no pixel size" in set(read_set_aside(collected / "aside.tsv")["reason"])


def test_dataset_without_anything_left(tmp_path):
    fields = example.example_fields([])
    inputs = example.write_quality_inputs(tmp_path, example.example_fields(["f0"]))
    for name in ("qc", "cells"):
        pd.read_parquet(tmp_path / f"{name}.parquet").iloc[:0].to_parquet(tmp_path / f"{name}.parquet")
    example.write_fields(fields, tmp_path / "fields.parquet")
    collect_quality(
        **inputs, out_set_aside_tsv=tmp_path / "aside.tsv", out_quality_tsv=tmp_path / "quality.tsv", dataset="mine"
    )
    total = values(tmp_path, "")
    assert total == {
        "fields_in_sheet": 2, "fields_segmented": 0, "fields_without_cells": 0, "fields_set_aside": 2, "cells": 0,
    }  # fmt: skip
