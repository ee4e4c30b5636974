"""Measurements in benchmarks/ run as scripts, so their own names stand before those of Python's library."""

import sys
from pathlib import Path


def test_no_measurement_hides_a_module_of_python_s_library():
    names = {path.stem for path in (Path(__file__).parents[2] / "benchmarks").glob("*.py")}
    assert names
    assert not names & sys.stdlib_module_names
