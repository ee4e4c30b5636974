"""What all drivers share."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from isolation import isolate
from job import job
from subcell.errors import SubcellError

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"

THREADS_OF_A_JOB = """
from types import SimpleNamespace
from job import job

with job(SimpleNamespace(log=["{log}"], rule="embed", config={{"threads": 3}})) as run:
    assert run.device
    import torch
    print(torch.get_num_threads())
"""

HOLD_A_JOB = """
import time
from types import SimpleNamespace
from job import job

with job(SimpleNamespace(log=["{log}"], rule="embed", config={{"threads": 1}})):
    print("in", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())


def a_job(log: Path) -> SimpleNamespace:
    return SimpleNamespace(log=[log], rule="crop", config={"threads": 1})


def test_threads_come_from_the_configuration_whatever_the_cores(tmp_path: Path) -> None:
    """Torch is loaded within the job, and Snakemake says OMP_NUM_THREADS=1 where --cores is 1."""
    code = THREADS_OF_A_JOB.format(log=tmp_path / "job.log")
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "3"


def test_a_mistake_of_the_user_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "logs" / "job.log"
    with pytest.raises(SystemExit), job(a_job(log)):
        raise SubcellError("sheet.csv, row 3: no pixel size")
    assert capsys.readouterr().err == "crop: sheet.csv, row 3: no pixel size\n"
    assert "row 3: no pixel size" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_any_other_error_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    with pytest.raises(ZeroDivisionError), job(a_job(log)):
        1 / 0  # noqa: B018
    assert "Traceback" in log.read_text()


def test_a_full_disk_and_a_damaged_input_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = a_job(tmp_path / "job.log")
    with pytest.raises(SystemExit), job(full):
        raise OSError(28, "No space left on device", "crops/0000.h5sc")
    full.output = ["crops/0001.h5sc"]
    with pytest.raises(SystemExit), job(full):
        raise OSError("Can't write data (errno = 28, error message = 'No space left on device')")
    broken = tmp_path / "a.json"
    broken.write_text("{")
    full.input = [broken]
    with pytest.raises(SystemExit), job(full):
        json.loads(broken.read_text())
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "crop: crops/0000.h5sc: no space is left on the disk; free some and run again"
    assert second == "crop: crops/0001.h5sc: no space is left on the disk; free some and run again"
    assert third.startswith(f"crop: {broken}: damaged or cut off")
    assert third.endswith("delete it and run again")


def test_a_second_process_waits_for_the_first_of_the_same_job(tmp_path: Path) -> None:
    code = HOLD_A_JOB.format(log=tmp_path / "job.log")
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    first = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "in\n"
    second = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert second.stderr is not None
    assert "waiting for it to end" in second.stderr.readline()
    first.kill()
    assert second.stdout is not None
    assert second.stdout.readline() == "in\n"
    second.kill()
    for process in (first, second):
        process.communicate()


@pytest.mark.parametrize(
    ("snakemake", "prefix", "kept"),
    [("other/lib/python3.11/site-packages", "env", False), ("env/lib/python3.11/site-packages", "env", True)],
)
def test_only_a_foreign_snakemake_leaves_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snakemake: str, prefix: str, kept: bool
) -> None:
    packages = tmp_path / snakemake
    module = SimpleNamespace(__file__=str(packages / "snakemake/__init__.py"))
    borrowed = SimpleNamespace(__file__=str(packages / "borrowed.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / prefix))
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), str(packages)])
    monkeypatch.setitem(sys.modules, "snakemake", module)
    monkeypatch.setitem(sys.modules, "borrowed", borrowed)
    assert ("nothing of Snakemake's" in isolate()) is not kept
    assert (str(packages) in sys.path) is kept
    assert ("borrowed" in sys.modules) is kept
    assert "snakemake" in sys.modules


def test_an_activated_environment_whose_python_does_not_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "0123456789abcdef0123456789abcdef_"))
    with pytest.raises(SystemExit, match="makes it anew"):
        isolate()
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "base"))
    isolate()


def test_a_training_of_two_gpus_has_as_many_processes_where_there_is_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for gpus in (0, 1, 2):
        asked = a_job(tmp_path / "job.log")
        asked.resources = {"gpu": gpus}
        with job(asked) as run:
            assert run.processes == max(1, gpus)
