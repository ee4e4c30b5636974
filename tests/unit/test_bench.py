"""Measurements in speed/ run as scripts, by hand: here only that they still fit the library."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "speed").glob("*.py"))


def test_no_measurement_hides_a_module_of_python_s_library():
    assert SCRIPTS
    assert not {path.stem for path in SCRIPTS} & sys.stdlib_module_names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_measurement_imports_is_there(script, monkeypatch):
    monkeypatch.syspath_prepend(script.parent)
    runpy.run_path(str(script), run_name="imported")
