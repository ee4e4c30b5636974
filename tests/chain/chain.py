"""Copies of the project in which the chain runs for real on a tiny configuration, and what its jobs are doing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CONDA = ROOT / "tests/cluster/conda/bin"
CONFIG = "tests/chain/config.yaml"
LEFT_OUT = (".venv", ".git", ".cache", "results", "logs", ".snakemake", "__pycache__", ".*_cache")


def copy_project(folder: Path) -> Path:
    """A copy without results, so that tests never touch a user's run."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    return folder


def environment(*, conda: bool = False, **more: str) -> dict[str, str]:
    """Variables of a shell in which the project's `snakemake` is found, and the stand-in conda if wanted."""
    path = os.pathsep.join([*([str(CONDA)] if conda else []), str(BIN), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "UV": str(BIN / "uv"), **more}


def start(project: Path, *arguments: object, **more: str) -> subprocess.Popen[str]:
    """Start the chain; stdout and stderr go to `chain.out` in the project."""
    command = ["snakemake", *map(str, arguments), "--configfile", CONFIG]
    conda = "conda" in command
    with open(project / "chain.out", "a", encoding="utf-8") as out:
        out.write(f"$ {' '.join(command)}\n")
        out.flush()
        return subprocess.Popen(
            command,
            cwd=project,
            env=environment(conda=conda, **more),
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            umask=0o002,
        )


def run(project: Path, *arguments: object, **more: str) -> tuple[int, str]:
    """Run the chain to its end; return its exit status and what it said."""
    said = project / "chain.out"
    before = said.stat().st_size if said.exists() else 0
    code = start(project, *arguments, **more).wait()
    with open(said, encoding="utf-8", errors="replace") as file:
        file.seek(before)
        return code, file.read()


def finish(project: Path, *arguments: object, **more: str) -> str:
    """Run the chain, which has to succeed; return what it said."""
    code, text = run(project, *arguments, **more)
    assert code == 0, text[-6000:]
    return text


def jobs_done(text: str) -> list[str]:
    """Rules of the jobs that ended well, in that order."""
    return re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", text, re.MULTILINE)


def processes(project: Path) -> Mapping[int, str]:
    """Command lines of the scripts that run for this copy of the project, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                inside = (entry / "cwd").resolve() == project.resolve()
            except OSError:
                continue
            if inside and ".py" in command and "/scripts/" in command and "bash" not in command.split()[0]:
                found[int(entry.name)] = command
    return found


def kill(pid: int) -> bool:
    """Kill -9; whether there was still something to kill."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
