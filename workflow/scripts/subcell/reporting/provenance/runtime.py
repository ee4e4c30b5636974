"""Time and memory of every step, from Snakemake's benchmark files, and what a larger run would take."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

JOB_COLUMNS = ("step", "part", "seconds", "cpu_seconds", "max_rss_mb", "finished")
PROJECTED_FIELDS = (1_000, 10_000, 100_000)

PER_FIELD = {"download", "segment", "crop", "embed"}
"""Steps whose work grows with the fields; the others are listed but not projected, each for a reason of its own."""

NOT_PROJECTED = {
    "train": "grows with epochs and antibodies, not with fields alone",
    "cluster": "grows with the units of the map",
    "report": "nearly constant",
}


def read_jobs(logs: str | Path) -> pd.DataFrame:
    """One row a finished job, `JOB_COLUMNS`, from all *.benchmark.jsonl below a folder; the last line of a file counts.

    `step` is the name of the file, or of its folder where the file is named by a shard; `part` is where it lies;
    `finished` is when the file was written, in seconds since 1970. Files that cannot be read are left out: they belong to
    jobs that are running.
    """
    rows = []
    root = Path(logs)
    for path in sorted(root.rglob("*.benchmark.jsonl")):
        try:
            measured = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        except (OSError, ValueError, IndexError):
            continue
        name, folder = path.name.removesuffix(".benchmark.jsonl"), path.parent.relative_to(root)
        by_shard = name.isdigit() and folder.parts
        rows.append(
            {
                "step": folder.name if by_shard else name,
                "part": (folder.parent if by_shard else folder).as_posix().removeprefix("."),
                "seconds": _number(measured.get("s")),
                "cpu_seconds": _number(measured.get("cpu_time")),
                "max_rss_mb": _number(measured.get("max_rss")),
                "finished": path.stat().st_mtime,
            }
        )
    return pd.DataFrame(rows, columns=list(JOB_COLUMNS))


def seconds_of_benchmarks(jobs: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """(dataset, step, model) -> seconds of the jobs whose files lie in the folder of a dataset and model."""
    found = {}
    for row in jobs.itertuples():
        folders = str(row.part).split("/")
        if len(folders) == 2 and math.isfinite(row.seconds):
            found[(folders[0], str(row.step), folders[1])] = float(row.seconds)
    return found


def summarise_jobs(jobs: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry a step, the one that took longest in total first."""
    if jobs.empty:
        return []
    grouped = jobs.groupby("step", sort=False)
    total = float(jobs["seconds"].sum())
    steps = [
        {
            "step": step,
            "jobs": len(part),
            "seconds": float(part["seconds"].sum()),
            "longest": float(part["seconds"].max()),
            "cpu_seconds": float(part["cpu_seconds"].sum()),
            "max_rss_mb": float(part["max_rss_mb"].max()),
            "share": float(part["seconds"].sum() / total) if total else 0.0,
        }
        for step, part in grouped
    ]
    return sorted(steps, key=lambda entry: (-entry["seconds"], entry["step"]))


def project(jobs: pd.DataFrame, fields: Mapping[str, int]) -> list[dict[str, Any]]:
    """What the steps that grow with the fields would take for more fields: same machine, settings and cells a field.

    Parameters
    ----------
    jobs : see `read_jobs`
    fields : dataset -> fields that were segmented in this run

    Returns
    -------
    one entry a step (of `embed`, one a model): {"step", "ms_a_field", "seconds": one for each of `PROJECTED_FIELDS`}, of
    one job at a time, so with n jobs side by side they are divided by about n
    """
    found = []
    for (step, model), part in _per_field(jobs).groupby(["step", "model"], sort=False):
        here = {dataset: number for dataset, number in fields.items() if dataset in set(part["dataset"])}
        many = sum(here.values())
        if not many:
            continue
        seconds = float(part["seconds"].sum()) / many
        name = f"{step}, {model}" if model else str(step)
        found.append({"step": name, "ms_a_field": seconds * 1000, "seconds": [seconds * n for n in PROJECTED_FIELDS]})
    return found


def _per_field(jobs: pd.DataFrame) -> pd.DataFrame:
    chosen = jobs[jobs["step"].isin(PER_FIELD)].copy()
    parts = [part.split("/") for part in chosen["part"]]
    return chosen.assign(
        dataset=[part[0] for part in parts], model=[part[1] if len(part) > 1 else "" for part in parts]
    )


def span_of(jobs: pd.DataFrame) -> tuple[float, float] | None:
    """When the first job began and the last one ended, in seconds since 1970."""
    if jobs.empty:
        return None
    return float((jobs["finished"] - jobs["seconds"].fillna(0)).min()), float(jobs["finished"].max())


def duration(seconds: float | None) -> str:
    """A time as a person says it: "0.8 s", "45 s", "3 min 20 s", "2 h 5 min", "12 d 3 h"."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for unit, size, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            whole, rest = divmod(round(seconds / small), size // small)
            return f"{whole} {unit} {rest} {smaller}" if rest else f"{whole} {unit}"
    return f"{seconds:.0f} s"


def _number(value: Any) -> float:
    """A measurement; Snakemake writes "NA" for jobs too short to be measured."""
    number = pd.to_numeric(value, errors="coerce")
    return float(number) if pd.notna(number) else math.nan


def totals(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of all jobs one after another, of their processors, and the most memory that one job took."""
    return {
        "seconds": sum(entry["seconds"] for entry in steps),
        "cpu_seconds": sum(entry["cpu_seconds"] for entry in steps if math.isfinite(entry["cpu_seconds"])),
        "max_rss_mb": max(
            (entry["max_rss_mb"] for entry in steps if math.isfinite(entry["max_rss_mb"])), default=math.nan
        ),
    }
