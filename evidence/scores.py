"""Scores as one tidy table. A part of the other files here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from subcell.benchmarks.statistics.bootstrap import Estimate, difference

COLUMNS = (
    *("set", "task", "model", "metric", "value", "low", "high", "chance", "n", "unit", "seeds"),
    *("over", "over_value", "over_low", "over_high"),
)
"""`over` names the model that is subtracted, of the same units and draws; `over_value` is the difference, with its interval."""

BOOTSTRAPS = 1000
SEED = 42


@dataclass(frozen=True)
class Scored:
    """What a model reached in a task.

    Attributes
    ----------
    estimate : with its resamples
    chance : what a guess reaches
    n : units
    seeds : networks trained in each fold; 0 where none is
    """

    estimate: Estimate
    chance: float
    n: int
    seeds: int = 0


def tidy(dataset: str, task: str, metric: str, unit: str, scored: Mapping[str, Scored], over: str) -> pd.DataFrame:
    """A row a model, columns `COLUMNS`; differences only where the same units were drawn for `over`."""
    rows = []
    for model, found in scored.items():
        row = {"set": dataset, "task": task, "model": model, "metric": metric, "unit": unit}
        row |= {"value": found.estimate.value, "low": found.estimate.low, "high": found.estimate.high}
        row |= {"chance": found.chance, "n": found.n, "seeds": found.seeds}
        base = scored.get(over)
        if base and model != over and len(base.estimate.replicates) == len(found.estimate.replicates):
            paired = difference(found.estimate, base.estimate)
            row |= {"over": over, "over_value": paired.value, "over_low": paired.low, "over_high": paired.high}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))
