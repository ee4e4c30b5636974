"""What the tests of the workflow share: a copy of the project, and a way to run Snakemake in it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SNAKEMAKE = [str(Path(sys.executable).parent / "snakemake")]


def run(*arguments, cwd=ROOT):
    done = subprocess.run([*SNAKEMAKE, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A copy of the project without its results, so that tests never touch a user's run."""
    copy = tmp_path_factory.mktemp("project") / "subcell"
    ignored = shutil.ignore_patterns(
        ".venv", ".git", ".cache", "results", "logs", ".snakemake", "__pycache__", ".*_cache"
    )
    shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
    return copy
