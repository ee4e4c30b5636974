"""Which of a machine's GPUs a job takes, where several jobs share the machine and nobody hands GPUs out."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

CLAIMS = Path(tempfile.gettempdir()) / f"subcell-gpus-{os.getuid()}"
"""A file a claim, on the machine itself. Its holder keeps it locked, so that a claim ends however its job ends."""
ASK_EVERY_S = 2.0


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes
    ----------
    name : its UUID, which CUDA_VISIBLE_DEVICES takes
    total_mb, free_mb : its memory, mebibytes
    """

    name: str
    total_mb: int
    free_mb: int


def list_gpus() -> list[Gpu]:
    """The machine's GPUs as nvidia-smi tells them; none where there is no nvidia-smi.

    Of these, those that CUDA_VISIBLE_DEVICES allows; set and empty it allows none, as CUDA has it.
    """
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line.strip()]
    choice = os.environ.get("CUDA_VISIBLE_DEVICES")
    allowed = [name.strip() for name in (choice or "").split(",") if name.strip()]
    return [
        Gpu(uuid, int(total), int(free))
        for index, uuid, total, free in rows
        if choice is None or index in allowed or any(uuid.startswith(name) for name in allowed)
    ]


@contextmanager
def take_gpus(
    count: int,
    needs_mb: int,
    *,
    handed_out: bool = False,
    gpus: Callable[[], Sequence[Gpu]] = list_gpus,
    claims: Path = CLAIMS,
    log: Callable[[str], None] = print,
) -> Iterator[list[str]]:
    """Claim GPUs for as long as the `with` block lasts; wait until there are some.

    A GPU that nobody has claimed is taken first. Where all are claimed, jobs share one as long as what they say they
    need fits its memory, and what is free there is enough; else they wait. A GPU that is too small for a job is taken
    when it is alone.

    Parameters
    ----------
    count : GPUs; fewer are taken where the machine has fewer
    needs_mb : memory that the job needs on each, mebibytes
    handed_out : a scheduler has started this very job and keeps it to its GPUs
    gpus : lists the machine's GPUs
    claims : folder of the claims
    log : called with a line when the job has to wait

    Returns
    -------
    names for CUDA_VISIBLE_DEVICES; empty where there is no GPU, or they were handed out
    """
    present = [] if handed_out else list(gpus())
    if not present:
        yield []
        return
    claims.mkdir(parents=True, exist_ok=True)
    count, waiting = min(count, len(present)), False
    while True:
        with FileLock(claims / "admission.lock"):
            locks = _claim(list(gpus()), count, needs_mb, claims)
        if locks:
            break
        if not waiting:
            waiting = True
            log(f"waiting for {'a GPU' if count == 1 else f'{count} GPUs'} with {needs_mb} MB")
        time.sleep(ASK_EVERY_S)
    try:
        yield list(locks)
    finally:
        for lock in locks.values():
            lock.release()
            with suppress(OSError):
                os.unlink(lock.lock_file)


def _claim(gpus: Sequence[Gpu], count: int, needs_mb: int, claims: Path) -> dict[str, FileLock]:
    """Claim so many GPUs, or none; called by one process at a time."""
    claimed = _claimed_mb(claims)
    fitting = [
        gpu
        for gpu in gpus
        if gpu.name not in claimed or (sum(claimed[gpu.name]) + needs_mb <= gpu.total_mb and needs_mb <= gpu.free_mb)
    ]
    if len(fitting) < count:
        return {}
    fitting.sort(key=lambda gpu: (len(claimed.get(gpu.name, [])), -gpu.free_mb, gpu.name))
    locks = {}
    for gpu in fitting[:count]:
        lock = FileLock(claims / f"{gpu.name}.{needs_mb}.{os.getpid()}.{time.monotonic_ns()}.claim")
        lock.acquire(timeout=0)
        locks[gpu.name] = lock
    return locks


def _claimed_mb(claims: Path) -> dict[str, list[int]]:
    """Memory of each living claim by the name of its GPU; what dead jobs left is removed."""
    living: dict[str, list[int]] = {}
    for path in claims.glob("*.claim"):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            name, megabytes, *_ = path.name.split(".")
            living.setdefault(name, []).append(int(megabytes))
        else:
            lock.release()
            path.unlink(missing_ok=True)
    return living
