"""An undisturbed run of the chain, and copies of it to break."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from chain import copy_project, finish

TABLE = Path("faults.tsv")


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
    """Collects what the faults led to; written to `faults.tsv` where tests are run from."""
    rows = []
    yield lambda *cells: rows.append("\t".join(map(str, cells)))
    if rows:
        header = "fault\twhat the user sees\twhat was redone\tresult"
        TABLE.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


@contextmanager
def small_disk(folder, size_mb):
    """A file system of its own at this folder; gives a function that changes its size or makes it read-only."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")

    def remount(options):
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
