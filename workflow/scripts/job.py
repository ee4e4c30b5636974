"""What all drivers share: log file, threads, device, progress, and one clear line when the user can fix it."""

import errno
import fcntl
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from isolation import isolate

ENVIRONMENT = isolate()  # before anything else is imported, here or in a driver

from subcell.damage import damaged  # noqa: E402
from subcell.errors import SubcellError  # noqa: E402

Item = TypeVar("Item")
READERS = 4


@dataclass(frozen=True)
class Run:
    """What a driver needs to know about the job it is."""

    threads: int
    log: logging.Logger
    gpus: int = 1
    gpu_mb: int = 0
    until_the_end: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def device(self) -> str:
        """`cuda` where there is one, else `cpu`. Loads torch and takes a GPU, which only networks need."""
        from subcell.devices import take_gpus

        # Before torch counts GPUs: to this job there are no others than its own.
        # Several jobs of a Snakemake that runs in one allocation share its GPUs as on a workstation.
        handed_out = "SUBCELL_REMOTE_JOB" in os.environ
        claim = take_gpus(self.gpus, self.gpu_mb, handed_out=handed_out, log=self.log.info)
        taken = self.until_the_end.enter_context(claim)
        if taken:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
            self.log.info("on GPU %s", ", ".join(taken))
        import torch

        torch.set_num_threads(self.threads)
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def processes(self) -> int:
        """Processes that train side by side: one a GPU that this job asked for and has, as many where there is none."""
        if self.gpus == 1 or self.device == "cpu":
            return self.gpus
        import torch

        return min(self.gpus, torch.cuda.device_count())

    @property
    def readers(self) -> int:
        """Processes that read for a GPU: as many as `embed` asks a cluster for, where there are so many CPUs."""
        return max(2, min(READERS, len(os.sched_getaffinity(0))))

    def progress(self, items: Iterable[Item], total: int | None = None, desc: str = "") -> Iterator[Item]:
        """Pass items through, and say how far it is about every ten seconds."""
        total = len(items) if total is None and hasattr(items, "__len__") else total
        start = last = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - last > 10:
                last = now
                left = f", {(now - start) / done * (total - done):.0f} s left" if total else ""
                self.log.info("%s: %d%s%s", desc or "done", done, f" of {total}" if total else "", left)


@contextmanager
def job(snakemake: Any) -> Iterator[Run]:
    """Run the body of a driver as a job.

    A `SubcellError` ends the job with its message as one line; anything else with a traceback in the log.
    """
    path = str(snakemake.log[0])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handler = logging.FileHandler(path, mode="a", encoding="utf-8")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=[handler], force=True
    )
    log = logging.getLogger(snakemake.rule)
    _wait_for_predecessor(snakemake.rule, handler.stream.fileno())
    os.truncate(path, 0)
    log.info("%s, python %s in %s (%s)", snakemake.rule, sys.version.split()[0], sys.prefix, ENVIRONMENT)
    # Snakemake marks the folders that it makes with a file, which zarr does not know.
    warnings.filterwarnings("ignore", message=r"Object at \.snakemake_timestamp")
    threads = int(snakemake.config["threads"])
    _limit_threads(threads)
    resources = getattr(snakemake, "resources", {})
    gpus, gpu_mb = int(resources.get("gpu", 0)), int(resources.get("gpu_mb", 0))
    try:
        with ExitStack() as until_the_end:
            yield Run(threads, log, gpus=max(1, gpus), gpu_mb=gpu_mb, until_the_end=until_the_end)
    except Exception as error:
        line = str(error) if isinstance(error, SubcellError) else _about_files(error, snakemake)
        if not line:
            log.error("%s", traceback.format_exc())
            raise
        log.error("%s", line)
        print(f"{snakemake.rule}: {line}", file=sys.stderr)
        sys.exit(1)
    log.info("finished")


def _wait_for_predecessor(rule: str, log_file: int) -> None:
    """Where Snakemake was killed its jobs go on, and one of them may be this job: two must not write the same files."""
    try:
        fcntl.flock(log_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{rule}: a job of an earlier run still works on this; waiting for it to end", file=sys.stderr)
        fcntl.flock(log_file, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks


DISK = {
    errno.ENOSPC: "no space is left on the disk; free some",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the disk is read-only; make it writable",
    errno.EACCES: "no permission; correct it",
}


def _about_files(error: Exception, snakemake: Any) -> str:
    """What a user can do about the disk or about a damaged input; empty where neither is the cause."""
    # HDF5 hides the number in its text.
    hidden = re.search(r"errno[ =]+(\d+)", str(error), re.IGNORECASE)
    number = getattr(error, "errno", None) or int(hidden[1] if hidden else 0)
    if number in DISK:
        where = getattr(error, "filename", None) or next(iter(snakemake.output), "")
        return f"{where}: {DISK[number]} and run again"
    broken = damaged(getattr(snakemake, "input", ()))
    return f"{'; '.join(broken)}; delete it and run again" if broken else ""


def _limit_threads(threads: int) -> None:
    """Sums depend on the number of threads in their last digits, so it comes from the configuration, not from --cores."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # for libraries that are loaded from here on; Snakemake set it by --cores
    if "threadpoolctl" in sys.modules:
        sys.modules["threadpoolctl"].threadpool_limits(threads)
