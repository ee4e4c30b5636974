"""What every benchmark writes: one JSON file with scores, one parquet file with what is behind them.

A benchmark is a module of this package, or a file of the user's, with

    BENCHMARK : its name
    run(cells, *, out_json, out_parquet, dataset, model, simulated, <settings>, **_other) -> Result
    perfect_features(obs) -> (N, D) float32 : what a perfect model would see, from the labels alone (and from keywords of
        `run` that it names, such as the truth of a simulated dataset). Where it is absent that control is not run
    UNIT : column of obs whose values are independent
    DEALT : column whose groups of cells the control `random_labels` exchanges; `UNIT` where it is absent

Its first metric is its headline: higher is better, and its resampled values stand in `Result.replicates`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subcell.benchmarks.statistics.bootstrap import Estimate
from subcell.replacing import replacing

TRUTH, PROBABILITY = "truth_", "prob_"
"""Beginnings of the columns of predictions, before the name of a class."""


@dataclass(frozen=True)
class Metric:
    """One score.

    Attributes
    ----------
    metric : its name; the first metric of a benchmark is its headline
    value, low, high : the score and its 95% interval
    chance : what a guess reaches; None where that has no meaning
    n : independent units behind it
    seeds : classifiers averaged; 0 where none is trained
    unit : what `n` counts, e.g. "antibody"
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    chance: float | None
    n: int
    seeds: int
    unit: str


def as_metric(name: str, found: Estimate, *, chance: float | None, n: int, unit: str, seeds: int = 0) -> Metric:
    """A score as it is written; see `Metric`."""
    return Metric(name, found.value, found.low, found.high, chance, n, seeds, unit)


def kept(found: Estimate) -> list[float]:
    """Resampled values as they are written: seven digits suffice for the spread of differences."""
    return [float(f"{value:.7g}") for value in found.replicates]


@dataclass(frozen=True)
class Result:
    """Outcome of one benchmark of one model on one dataset; `status` is "ok" or "not run", then with a reason.

    `replicates` holds for the headline (and any other metric in which models are to be compared) its value in each
    resample of `bootstrap.draw_units`, `units_key` the hash of the units that were drawn: models with
    the same key are compared in pairs.
    """

    benchmark: str
    dataset: str
    model: str
    simulated: bool
    status: str = "ok"
    reason: str = ""
    metrics: Sequence[Metric] = ()
    replicates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    units_key: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def not_run(reason: str, *, benchmark: str, dataset: str, model: str, simulated: bool) -> Result:
    """Result of a benchmark that lacks something; `reason` reads on after "not run: ", e.g. "needs locations"."""
    return Result(benchmark, dataset, model, simulated, status="not run", reason=reason)


def write_result(
    result: Result, out_json: str | Path, out_parquet: str | Path, predictions: pd.DataFrame | None = None
) -> Result:
    """Write both files and hand the result back; without predictions the parquet file has no rows."""
    table = pd.DataFrame({"unit": pd.Series(dtype=object)}) if predictions is None else predictions
    text = json.dumps(_plain(asdict(result)), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    with replacing(out_parquet) as to:
        table.to_parquet(to, index=False, compression="zstd")
    with replacing(out_json) as to:
        to.write_text(text, encoding="utf-8")
    return result


def _plain(value: Any) -> Any:
    """Values that JSON has: numpy's become Python's, and a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
