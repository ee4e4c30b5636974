"""What all drivers share: log file, threads, device, progress, and one clear line when the user can fix it."""

import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from subcell.errors import SubcellError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Run:
    """What a driver needs to know about the job it is."""

    threads: int
    log: logging.Logger

    @property
    def device(self) -> str:
        """`cuda` where there is one, else `cpu`. Loads torch, which only networks need."""
        import torch

        torch.set_num_threads(self.threads)
        return "cuda" if torch.cuda.is_available() else "cpu"

    def device_of(self, number: int) -> str:
        """The device of one of many jobs: of several GPUs they take turns by their number."""
        device = self.device
        if device == "cpu":
            return device
        import torch

        return f"cuda:{number % torch.cuda.device_count()}"

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
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[logging.FileHandler(path, mode="w", encoding="utf-8")],
        force=True,
    )
    log = logging.getLogger(snakemake.rule)
    log.info("%s, python %s in %s", snakemake.rule, sys.version.split()[0], sys.prefix)
    # Snakemake marks the folders that it makes with a file, which zarr does not know.
    warnings.filterwarnings("ignore", message=r"Object at \.snakemake_timestamp")
    threads = int(snakemake.config["threads"])
    _limit_threads(threads)
    try:
        yield Run(threads=threads, log=log)
    except SubcellError as error:
        log.error("%s", error)
        print(f"{snakemake.rule}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        log.error("%s", traceback.format_exc())
        raise
    log.info("finished")


def _limit_threads(threads: int) -> None:
    """Sums depend on the number of threads in their last digits, so it comes from the configuration, not from --cores."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # for libraries that are loaded from here on; Snakemake set it by --cores
    if "threadpoolctl" in sys.modules:
        sys.modules["threadpoolctl"].threadpool_limits(threads)
