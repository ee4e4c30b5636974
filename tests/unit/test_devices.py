"""GPU slots of a machine without a scheduler, with GPUs that the tests say are there."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from subcell import devices
from subcell.devices import Gpu, take_gpus

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"

HOLDER = """
import sys, time
from pathlib import Path
from subcell.devices import Gpu, take_gpus
with take_gpus(1, 9000, gpus=lambda: [Gpu("GPU-a", 10_000, 10_000)], claims=Path({claims!r})) as names:
    print(*names, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(devices, "ASK_EVERY_S", 0.02)


def take(tmp_path, count=1, needs_mb=6000, names="ab", free_mb=10_000, handed_out=False):
    gpus = [Gpu(f"GPU-{name}", 10_000, free_mb) for name in names]
    return take_gpus(count, needs_mb, handed_out=handed_out, gpus=lambda: gpus, claims=tmp_path)


def test_two_jobs_use_different_gpus_and_the_third_waits_for_one(tmp_path):
    first, second = take(tmp_path), take(tmp_path)
    one, other = first.__enter__(), second.__enter__()
    assert sorted(one + other) == ["GPU-a", "GPU-b"]
    got = []

    def third():
        with take(tmp_path) as names:
            got.extend(names)

    thread = threading.Thread(target=third)
    thread.start()
    time.sleep(0.2)
    assert got == []
    second.__exit__(None, None, None)
    thread.join(10)
    assert got == other
    first.__exit__(None, None, None)
    assert list(tmp_path.glob("*.claim")) == []


def test_jobs_share_a_gpu_as_long_as_its_memory_lasts(tmp_path):
    with take(tmp_path, names="a", needs_mb=4000) as one, take(tmp_path, names="a", needs_mb=6000) as other:
        assert one == other == ["GPU-a"]
        assert devices._claim([Gpu("GPU-a", 10_000, 10_000)], 1, 1, tmp_path) == {}


def test_memory_that_a_stranger_holds_is_not_shared_out(tmp_path):
    with take(tmp_path, names="a", needs_mb=2000):
        assert devices._claim([Gpu("GPU-a", 10_000, 1500)], 1, 2000, tmp_path) == {}


def test_a_job_of_several_gpus_gets_different_ones_and_no_more_than_there_are(tmp_path):
    with take(tmp_path, count=2) as names:
        assert sorted(names) == ["GPU-a", "GPU-b"]
    with take(tmp_path, count=8) as names:
        assert len(names) == 2


def test_a_gpu_that_is_too_small_is_taken_alone(tmp_path):
    with take(tmp_path, names="a", needs_mb=80_000) as names:
        assert names == ["GPU-a"]
        assert devices._claim([Gpu("GPU-a", 10_000, 10_000)], 1, 100, tmp_path) == {}


def test_gpus_are_shared_out_within_an_allocation_of_slurm(tmp_path, monkeypatch):
    """`salloc --gres=gpu:2`, then `snakemake --cores all`: nobody but us tells its jobs apart."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with take(tmp_path) as one, take(tmp_path) as other:
        assert sorted(one + other) == ["GPU-a", "GPU-b"]


def test_what_a_scheduler_gave_to_a_job_and_a_machine_without_gpus_are_left_alone(tmp_path):
    with take(tmp_path, handed_out=True) as names:
        assert names == []
    with take(tmp_path, names="") as names:
        assert names == []


def test_the_claim_of_a_killed_job_is_void(tmp_path):
    code = HOLDER.format(claims=str(tmp_path))
    holder = subprocess.Popen([sys.executable, "-c", code], env={"PYTHONPATH": str(SCRIPTS)}, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"GPU-a\n"
    gpu = [Gpu("GPU-a", 10_000, 10_000)]
    assert devices._claim(gpu, 1, 9000, tmp_path) == {}
    holder.kill()
    holder.wait()
    with take(tmp_path, names="a", needs_mb=9000) as names:
        assert names == ["GPU-a"]


def test_nvidia_smi_is_read_and_a_choice_of_the_user_kept(tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho '0, GPU-aa, 24576, 24000'\necho '1, GPU-bb, 24576, 100'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.list_gpus() == [Gpu("GPU-aa", 24576, 24000), Gpu("GPU-bb", 24576, 100)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.name for gpu in devices.list_gpus()] == ["GPU-bb"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert devices.list_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    assert devices.list_gpus() == []
