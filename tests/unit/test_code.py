"""The code behind a job: what it imports, directly or through others, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from subcell.config import code
from subcell.config.code import LIBRARY, code_behind, code_version

SCRIPTS = LIBRARY.parent
DRIVERS = sorted(path for path in SCRIPTS.glob("*.py") if path.stem not in ("job", "isolation"))
FILES = {
    "driver.py": "from job import job\nfrom subcell.map.draw import draw\n",
    "subcell/__init__.py": "__version__ = '1'\n",
    "subcell/map/__init__.py": "",
    "subcell/map/draw.py": "import subcell.lines\nif TYPE_CHECKING:\n    import subcell.typed\n",
    "subcell/map/beside.py": "A = 1\n",
    "subcell/lines.py": "def late():\n    with open(0):\n        from subcell import colours\n",
    "subcell/colours.py": "A = 1\n",
    "subcell/typed.py": "A = 1\n",
}
BEHIND = {"driver.py", "subcell/map/__init__.py", "subcell/map/draw.py", "subcell/lines.py", "subcell/colours.py"}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A small library and a driver."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(code, "LIBRARY", tmp_path / "subcell")
    forget()
    yield tmp_path
    forget()


def forget():
    code.code_version.cache_clear()
    code._read.cache_clear()
    code._files_of.cache_clear()


def test_what_is_imported_through_others_is_behind_a_driver(library):
    assert {path.relative_to(library).as_posix() for path in code_behind(library / "driver.py")} == BEHIND


@pytest.mark.parametrize("name", FILES)
def test_a_version_changes_with_each_file_behind_it_and_with_no_other(library, name):
    before = code_version(library / "driver.py")
    (library / name).write_text(FILES[name] + "# changed\n")
    forget()
    assert (code_version(library / "driver.py") != before) == (name in BEHIND)


def test_a_file_that_is_no_python_has_a_version_and_one_that_is_not_there_has_none(library):
    (library / "own.py").write_text("def run(:\n")
    assert code_behind(library / "own.py") == [library / "own.py"]
    assert len(code_version(library / "own.py")) == 12
    with pytest.raises(FileNotFoundError):
        code_version(library / "absent.py")


@pytest.mark.parametrize("driver", ["merge_embeddings.py", "find_neighbors.py", "check_leakage.py", "train.py"])
def test_nothing_is_loaded_that_is_not_behind_a_driver(driver):
    imports = [line for line in (SCRIPTS / driver).read_text().splitlines() if line.startswith("from subcell")]
    assert imports
    listing = "import json, sys; print(json.dumps([m.__file__ for n, m in sys.modules.items() if n[:8] == 'subcell.']))"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*imports, listing])],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {Path(path) for path in json.loads(done.stdout.splitlines()[-1])}
    assert loaded
    assert loaded <= set(code_behind(SCRIPTS / driver))


def test_no_job_hangs_on_what_checks_and_documents_the_configuration():
    needed = {path.stem: set(code_behind(path)) for path in DRIVERS}
    assert all(LIBRARY / "config/model.py" not in files for files in needed.values())
    for module, far in {
        "reporting/figures/figures.py": ("embed", "merge_embeddings", "check_quality", "train", "cluster"),
        "embedding/build.py": ("train", "merge_embeddings", "import_embeddings", "predict_locations"),
    }.items():
        assert [name for name in far if LIBRARY / module in needed[name]] == [], module
    for module, near in {
        "embedding/store.py": ("embed", "merge_embeddings", "export_parquet", "score_model", "score_controls"),
        "benchmarks/probes/frozen.py": ("score_model", "score_controls"),
    }.items():
        assert [name for name in near if LIBRARY / module not in needed[name]] == [], module
