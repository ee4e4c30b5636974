"""Scores over the seeds of pretraining: what a way of training reaches, not what one network does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from subcell.benchmarks.statistics.bootstrap import LEVEL
from subcell.config.seeds import name_without_seed
from subcell.reporting.scores.results import beats, by_task, interval
from subcell.tables import read_table, write_table

SEED = "seed"
COLUMNS = (
    *("dataset", "benchmark", "metric", "model", "seeds", "mean", "sd", "low", "high", "chance"),
    *("reference", "reference_seeds", "difference", "difference_low", "difference_high", "simulated"),
)

Scores = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Scores of the models that differ in their seed only (S,), and their mean in each resample of units (B,)."""


def families(models: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Models that differ in the seed of their pretraining only.

    Parameters
    ----------
    models : name -> settings

    Returns
    -------
    what they are called together -> their names, of which there may be one. Names that end in their seed have to be alike
    without it, so that two ways of training with the same settings stay two; of one seed twice the first counts
    """
    found: dict[tuple[str, str], dict[int, str]] = {}
    for name, settings in models.items():
        if SEED in settings:
            seed = settings[SEED]
            alike = repr(sorted((key, value) for key, value in settings.items() if key != SEED))
            short = name_without_seed(name, seed)
            found.setdefault((alike, short if short != name else ""), {}).setdefault(seed, name)
    named: dict[str, list[str]] = {}
    for (_, short), of_seeds in found.items():
        names = list(of_seeds.values())
        free = short and len(names) > 1 and short not in models and short not in named
        named[short if free else names[0]] = names
    return named


def scores_over_seeds(
    results: Sequence[Mapping[str, Any]], *, models: Mapping[str, Mapping[str, Any]], reference: str
) -> pd.DataFrame:
    """Headline scores of models with several seeds, with intervals over units and seeds.

    The mean over seeds errs because units are few and because seeds are. The squared half width of its 95% interval is the
    sum of two: 1.96 standard deviations over resamples of units, and Student's t over seeds (Howe 1974). A
    difference has the resamples of units in pairs, and Welch's t over the seeds of both.

    Parameters
    ----------
    results : benchmark results
    models : name -> settings
    reference : the model that is subtracted, with all of its seeds; where it has one, the interval lacks its spread

    Returns
    -------
    `COLUMNS`, a row for each dataset, benchmark and model of which at least two seeds were scored on the same units
    """
    names = families(models)
    base = next((name for name, members in names.items() if reference in members), reference)
    rows = []
    for (dataset, benchmark), scored in by_task(results).items():
        other = _scores(scored, names.get(base, [base]))
        for name, members in names.items():
            here = _scores(scored, members)
            if here is None or len(here[0]) < 2:
                continue
            result = _of(scored, members)[0]
            head = result["metrics"][0]
            low, high = _interval(here)
            row = {"dataset": dataset, "benchmark": benchmark, "metric": head["metric"], "model": name}
            row |= {"seeds": len(here[0]), "mean": here[0].mean(), "sd": here[0].std(ddof=1), "low": low, "high": high}
            row |= {"chance": head.get("chance"), "simulated": bool(result.get("simulated", False))}
            if other is not None and name != base and _paired(scored, members, names.get(base, [base])):
                low, high = _interval(here, other)
                row |= {"reference": base, "reference_seeds": len(other[0])}
                row |= {"difference": here[0].mean() - other[0].mean(), "difference_low": low, "difference_high": high}
            rows.append(row)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = ("mean", "sd", "low", "high", "chance", "difference", "difference_low", "difference_high")
    others = {"seeds": int, "reference_seeds": "Int64", "simulated": bool, "reference": "string"}
    return table.astype({**dict.fromkeys(numbers, float), **others})


def write_scores_over_seeds(table: pd.DataFrame, path: str | Path) -> None:
    """Write the table as TSV under its name when it is whole; without a row where no model has several seeds."""
    write_table(table, path, float_format="%.6g")


def as_rows(path: str | Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The written table as the report shows it: dataset -> benchmark -> rows, the best first."""
    table = read_table(path, dtype={"dataset": str, "benchmark": str, "model": str, "reference": str})
    table = table.sort_values("mean", ascending=False, kind="stable").astype(object)
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in table.where(table.notna(), None).to_dict("records"):
        row["interval"] = interval(row["low"], row["high"])
        row["difference_interval"] = interval(row["difference_low"], row["difference_high"], sign=True)
        row["beats"] = beats(row["difference_low"], row["difference_high"])
        rows.setdefault(row["dataset"], {}).setdefault(row["benchmark"], []).append(row)
    return rows


def _of(scored: Mapping[str, Mapping[str, Any]], members: Sequence[str]) -> list[Mapping[str, Any]]:
    """Results with a headline score."""
    return [scored[name] for name in members if name in scored and scored[name]["metrics"][0]["value"] is not None]


def _units(result: Mapping[str, Any]) -> tuple[str, str, int]:
    """What has to be the same for scores to be averaged, and their resamples to be pairs."""
    metric = result["metrics"][0]["metric"]
    return metric, result.get("units_key") or "", len((result.get("replicates") or {}).get(metric) or ())


def _paired(scored: Mapping[str, Mapping[str, Any]], *members: Sequence[str]) -> bool:
    """Whether all were resampled by the same draws of the same units."""
    found = {_units(result) for names in members for result in _of(scored, names)}
    return len(found) == 1 and all(found.pop())


def _scores(scored: Mapping[str, Mapping[str, Any]], members: Sequence[str]) -> Scores | None:
    """Scores of a model with all its seeds; None where none has one, or they are of different units."""
    results = _of(scored, members)
    if len({_units(result) for result in results}) != 1:
        return None
    metric = results[0]["metrics"][0]["metric"]
    values = np.array([result["metrics"][0]["value"] for result in results], float)
    resampled = [(result.get("replicates") or {}).get(metric) or () for result in results]
    # JSON has null for what is not defined.
    replicates = np.array([[np.nan if value is None else value for value in row] for row in resampled], float)
    return values, replicates.mean(axis=0)


def _interval(one: Scores, other: Scores | None = None) -> tuple[float, float]:
    """95% interval of the mean over seeds, or of the difference of two; NaN without resamples of units."""
    value = one[0].mean() - (other[0].mean() if other else 0.0)
    resampled = one[1] - (other[1] if other else 0.0)
    resampled = resampled[np.isfinite(resampled)]
    if len(resampled) < 2:
        return np.nan, np.nan
    half_of_units = NormalDist().inv_cdf((1 + LEVEL) / 2) * resampled.std(ddof=1)
    parts = [part[0] for part in (one, other) if part and len(part[0]) > 1]
    variances = np.array([part.var(ddof=1) / len(part) for part in parts])
    half_of_seeds = 0.0
    if variances.sum() > 0:
        freedom = variances.sum() ** 2 / sum(v**2 / (len(p) - 1) for v, p in zip(variances, parts, strict=True))
        half_of_seeds = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(variances.sum())
    half = float(np.hypot(half_of_units, half_of_seeds))
    return value - half, value + half
