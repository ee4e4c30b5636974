"""The lock of a killed run is removed by the next one; that of a run that lives is not."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_lock import take_over

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"

SNAKEFILE = f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
from run_lock import take_over
run_lock = take_over() if workflow.is_main_process else None

rule all:
    output: "done"
    shell: "touch began; sleep {{config[sleep]}}; touch {{output}}"
"""


def snakemake(folder, sleep):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--rerun-incomplete", "--config", f"sleep={sleep}"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(path):
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, f"{path} never came"
        time.sleep(0.05)


def test_after_a_kill_the_same_command_goes_on(tmp_path):
    """Snakemake's own answer is that the directory cannot be locked."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    first = snakemake(tmp_path, 30)
    wait_for(tmp_path / "began")
    second, _ = snakemake(tmp_path, 0).communicate(timeout=60)
    assert "cannot be locked" in second
    assert "its lock was removed" not in second
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert any((tmp_path / ".snakemake" / "locks").iterdir())
    again = snakemake(tmp_path, 0)
    text, _ = again.communicate(timeout=60)
    assert again.returncode == 0, text
    assert f"The run that had locked {tmp_path} is gone: its lock was removed." in text
    assert (tmp_path / "done").exists()


@pytest.fixture
def locked(tmp_path):
    """A folder that some run has locked in Snakemake's way."""
    folder = tmp_path / ".snakemake"
    (folder / "locks").mkdir(parents=True)
    (folder / "locks" / "0.output.lock").write_text("results/x\n")
    return folder


def remains(folder):
    return (folder / "locks" / "0.output.lock").exists()


def test_two_runs_in_one_folder_keep_the_lock_of_the_one_that_lives(locked):
    """The first ends, the second goes on: a third must not take the second's lock for a dead run's."""
    (locked / "runs").write_text(f"{socket.gethostname()}\n")
    (locked / "locks" / "0.output.lock").rename(locked / "kept")
    first, second = take_over(locked), take_over(locked)
    (locked / "kept").rename(locked / "locks" / "0.output.lock")
    first.close()
    third = take_over(locked)
    assert remains(locked)
    second.close()
    third.close()
    with take_over(locked):
        assert not remains(locked)


@pytest.mark.parametrize("runs", ["", "another-machine\n", f"{socket.gethostname()}\nanother-machine\n"])
def test_a_lock_of_another_machine_or_of_nobody_known_stays(locked, runs):
    (locked / "runs").write_text(runs)
    for _ in range(2):
        take_over(locked).close()
        assert remains(locked)


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert take_over(tmp_path / ".snakemake") is None
    assert not os.listdir(tmp_path)
