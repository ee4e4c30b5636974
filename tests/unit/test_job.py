"""What all drivers share."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

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


def test_jobs_take_turns_on_several_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    with job(a_job(tmp_path / "job.log")) as run:
        assert torch.cuda.is_available() or run.device_of(3) == "cpu"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert [run.device_of(shard) for shard in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
