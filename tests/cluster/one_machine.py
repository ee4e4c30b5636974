"""A real Slurm of two nodes on this machine, started for a test and stopped after it. Needs root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONF = Path(__file__).with_name("slurm.conf")
INSTALLED = Path("/etc/slurm")
PROGRAMS = ("sbatch", "srun", "slurmctld", "slurmd", "munged", "munge")
NODES = ("n1", "n2")


def missing() -> str:
    """Why Slurm cannot be started here; empty where it can."""
    if os.geteuid() != 0:
        return "starting Slurm needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}; `make test-cluster` installs Slurm from Debian"
    if (INSTALLED / "slurm.conf").exists() and not (INSTALLED / "slurm.conf").is_symlink():
        return "this machine belongs to a cluster already (/etc/slurm/slurm.conf)"
    return ""


@contextmanager
def slurm(folder: Path) -> Iterator[Path]:
    """Start munge, the controller and both nodes; gives the folder of their logs."""
    for name in ("state", "spool", "log", "run"):
        (folder / name).mkdir(parents=True)
    INSTALLED.mkdir(exist_ok=True)
    (folder / "slurm.conf").write_text(CONF.read_text().replace("FOLDER", str(folder)))
    # A GPU for the scheduler alone.
    (folder / "gres.conf").write_text("NodeName=n2 Name=gpu File=/dev/null\n")
    for name in ("slurm.conf", "gres.conf"):
        (INSTALLED / name).unlink(missing_ok=True)
        (INSTALLED / name).symlink_to(folder / name)
    for path in ("/run/munge", "/var/log/munge"):
        os.makedirs(path, exist_ok=True)
        shutil.chown(path, "munge", "munge")
    os.chmod("/run/munge", 0o755)
    munge_pid = Path("/run/munge/munged.pid")
    try:
        if subprocess.run("munge -n | unmunge", shell=True, capture_output=True, check=False).returncode:
            _call("runuser", "-u", "munge", "--", "/usr/sbin/munged", "--force", f"--pid-file={munge_pid}")
        _call("slurmctld", "-c")
        for node in NODES:
            _call("slurmd", "-c", "-N", node)
        _wait_for_nodes()
        yield folder / "log"
    finally:
        subprocess.run(["scancel", "-u", "root"], capture_output=True, check=False)
        pids = [*(folder / "run" / f"slurmd.{node}.pid" for node in NODES), folder / "run" / "slurmctld.pid", munge_pid]
        for path in pids:
            if path.is_file():
                _stop(int(path.read_text()))
        for name in ("slurm.conf", "gres.conf"):
            (INSTALLED / name).unlink(missing_ok=True)


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"


def _wait_for_nodes() -> None:
    for _ in range(60):
        found = subprocess.run(
            ["sinfo", "-h", "-N", "-p", "batch", "-o", "%t"], capture_output=True, text=True, check=False
        ).stdout
        if found.split() == ["idle"] * len(NODES):
            return
        time.sleep(0.5)
    raise AssertionError(f"the nodes do not come up: {found}")


def _stop(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
