"""An undisturbed run of the chain, and copies of it to break."""

import os
import shutil
from pathlib import Path

import pytest
from chain import copy_project, finish

TABLE = Path("faults.md")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A project whose chain has run to its end; UNDISTURBED names one to start from."""
    if os.environ.get("UNDISTURBED"):
        return Path(os.environ["UNDISTURBED"])
    project = copy_project(tmp_path_factory.mktemp("undisturbed") / "subcell")
    finish(project, "--cores", 2)
    return project


@pytest.fixture
def fresh(tmp_path):
    """A project that has not run."""
    return copy_project(tmp_path / "subcell")


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A copy of the undisturbed run, times of files and Snakemake's records included."""
    return Path(shutil.copytree(undisturbed, tmp_path / "subcell", symlinks=True))


@pytest.fixture(scope="session")
def table(request):
    """Collects what the faults led to; written to `faults.md` where tests are run from, as docs/cluster.md has it."""
    rows = []
    yield lambda *cells: rows.append(cells)
    if rows:
        lines = [("fault", "what the user sees", "what was redone", "result"), ("---",) * 4, *rows]
        text = [
            "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in row) + " |" for row in lines
        ]
        TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")
