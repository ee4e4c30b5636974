"""Tables that people open in a spreadsheet: no text of a sheet becomes a formula, and all of it comes back."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subcell.catalog.table import read_rows
from subcell.tables import quoted, read_table, table_text, unquoted, write_table

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
FORMULAS = [
    '=HYPERLINK("http://x","y")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "＝1",
    "'=1",
    "-",
    "-x",
]
PLAIN = ["", "a", "'a'", "x=1", "HPA000001", "-5", "+3.2e-4", "-.5", "1;-2"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_quoted_and_come_back(text):
    assert quoted(text) == f"'{text}"
    assert unquoted(quoted(text)) == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_and_numbers_stay_as_they_are(text):
    assert quoted(text) == text
    assert unquoted(text) == text


@given(st.text(alphabet="'=+-@\t\r\n 1e.a,\"", max_size=8))
def test_no_cell_begins_as_a_formula_does_and_all_text_comes_back(text):
    kept = quoted(text)
    assert unquoted(kept) == text
    assert kept[:1] not in tuple("=@\t\r\n")
    if kept[:1] in ("+", "-"):
        float(kept)


@pytest.mark.parametrize("name", ["t.tsv", "t.csv"])
def test_a_table_comes_back(tmp_path, name):
    text = [*FORMULAS, *PLAIN, 'a "b",\tc', "a\rb", "a\r\nb"]
    table = pd.DataFrame({"=1+1": text, "number": -np.arange(1.0, len(text) + 1), "n": range(len(text))})
    write_table(table, tmp_path / name)
    found = read_table(tmp_path / name, keep_default_na=False, dtype={"=1+1": str})
    pd.testing.assert_frame_equal(found, table)
    # As a program reads it that knows nothing of us.
    with open(tmp_path / name, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t" if name == "t.tsv" else ","))
    assert [row[0] for row in rows] == ["'=1+1", *map(quoted, text)]
    assert [row[1] for row in rows[1:3]] == ["-1.0", "-2.0"]
    assert not list(tmp_path.glob(".partial*"))


def test_categories_missing_values_and_other_objects_stay(tmp_path):
    table = pd.DataFrame({"kind": pd.Categorical(["=a", None, "b"]), "mixed": ["-x", -1.5, None], "none": [None] * 3})
    write_table(table, tmp_path / "t.tsv")
    assert (tmp_path / "t.tsv").read_text() == "kind\tmixed\tnone\n'=a\t'-x\t\n\t-1.5\t\nb\t\t\n"
    assert list(table["kind"].cat.categories) == ["=a", "b"]
    found = read_table(tmp_path / "t.tsv", dtype=str, keep_default_na=False)
    assert found["kind"].tolist() == ["=a", "", "b"]
    assert table_text(table[:0], delimiter=",") == "kind,mixed,none\n"


def test_a_sheet_made_of_our_tables_is_read_with_its_text(tmp_path):
    write_table(pd.DataFrame({"field_id": ["=1", "-f"], "gene": ["A", "@B"]}), tmp_path / "sheet.csv")
    _, rows = read_rows(tmp_path / "sheet.csv")
    assert [row for _, row in rows] == [{"field_id": "=1", "gene": "A"}, {"field_id": "-f", "gene": "@B"}]


def test_every_table_is_written_here():
    found = [
        f"{path.relative_to(SCRIPTS)}:{number}"
        for path in SCRIPTS.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"\.to_csv\(|csv\.(Dict)?[wW]riter\(", line) and path.name != "tables.py"
    ]
    assert found == []
