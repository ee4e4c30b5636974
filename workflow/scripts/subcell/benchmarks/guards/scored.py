"""The log of what was scored on held-out data, so that nobody has to believe that it was scored once."""

from __future__ import annotations

import fcntl
import hashlib
from contextlib import suppress
from pathlib import Path

import h5py
import pandas as pd

from subcell.benchmarks.statistics.result import Result
from subcell.tables import read_table, write_table

SCORED_COLUMNS = ("dataset", "model", "vectors_sha256", "benchmark", "metric", "value", "n", "unit")
READ_ROWS = 4096


def note_scored(result: Result, cells: str | Path, log: str | Path) -> None:
    """Add a line to the log of a dataset, once for each model, its vectors and benchmark.

    A model that was changed and scored again has another hash, so it shows as a second line: whoever chooses between two
    lines of one model has chosen on the test set. A run that computes the same again adds nothing.

    Parameters
    ----------
    result : of a benchmark; one that was not run has seen no test labels and is not noted
    cells : the vectors that were scored; they depend on the weights and on nothing else that may be tuned
    log : table to add to, `SCORED_COLUMNS`
    """
    if result.status != "ok" or not result.metrics:
        return
    headline = result.metrics[0]
    line = {
        "dataset": result.dataset,
        "model": result.model,
        "vectors_sha256": vectors_hash(cells)[:16],
        "benchmark": result.benchmark,
        "metric": headline.metric,
        "value": f"{headline.value:.6g}",
        "n": str(headline.n),
        "unit": headline.unit,
    }
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    # Jobs of one dataset end at the same time.
    with open(log.with_name(f".{log.name}.lock"), "w", encoding="utf-8") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        table = pd.concat([read_scored(log), pd.DataFrame([line])])
        key = ["dataset", "model", "vectors_sha256", "benchmark"]
        table = table.drop_duplicates(key, keep="last").sort_values(key)
        write_table(table, log)


def read_scored(log: str | Path) -> pd.DataFrame:
    """Read the log; empty where nothing was scored yet."""
    if not Path(log).is_file():
        return pd.DataFrame(columns=list(SCORED_COLUMNS), dtype=str)
    return read_table(log, dtype=str, keep_default_na=False)


def vectors_hash(cells: str | Path) -> str:
    """SHA-256 of the vectors of a file, rows in order; the file's bytes would differ from run to run."""
    digest = hashlib.sha256()
    with h5py.File(cells, "r") as file:
        vectors = file["X"]
        for start in range(0, vectors.shape[0], READ_ROWS):
            digest.update(vectors[start : start + READ_ROWS].tobytes())
    return digest.hexdigest()
