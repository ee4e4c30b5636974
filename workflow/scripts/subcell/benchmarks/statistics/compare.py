"""Models compared in pairs, on the same resamples of units, for any score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from subcell.benchmarks.statistics.bootstrap import Estimate, difference


def compare_models(
    results: Mapping[str, Mapping[str, Any]], *, reference: str = "random_vit", metric: str | None = None
) -> list[dict[str, Any]]:
    """Difference of every model to a reference, with its paired 95% interval.

    Both scores were resampled by the same draws of the same units, so what makes a resample hard for both cancels out in
    the difference of a resample.

    Parameters
    ----------
    results : model -> result of one benchmark on one dataset, as read from its JSON file
    reference : the model that is subtracted
    metric : name of the score; the headline when absent

    Returns
    -------
    one entry a model other than the reference, in the order given: model, reference, metric, value, low, high, p (two
    sided, that the difference is 0; not corrected for how many are compared), n (units). Models that were not run, were scored
    on other units, or kept no resamples have no entry; [] where the reference has none
    """
    base = _score_of(results.get(reference), metric)
    if base is None:
        return []
    found = []
    for model, result in results.items():
        score = _score_of(result, metric)
        if model == reference or score is None or score["key"] != base["key"] or score["name"] != base["name"]:
            continue
        paired = difference(score["estimate"], base["estimate"])
        found.append(
            {
                "model": model,
                "reference": reference,
                "metric": score["name"],
                "value": paired.value,
                "low": paired.low,
                "high": paired.high,
                "p": two_sided(paired),
                "n": score["n"],
            }
        )
    return found


def two_sided(found: Estimate) -> float:
    """Two-sided p value that a difference is 0, from the standard error of its resamples; NaN where there is none."""
    defined = found.replicates[np.isfinite(found.replicates)]
    if len(defined) < 2 or not np.isfinite(found.value):
        return float("nan")
    error = float(defined.std(ddof=1))
    if error == 0:
        return 1.0 if found.value == 0 else 0.0
    return 2 * NormalDist().cdf(-abs(found.value) / error)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number (Holm 1979); undefined ones stay so and are not counted."""
    values = np.asarray(p_values, float)
    corrected = np.full(len(values), np.nan)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in corrected]


def _score_of(result: Mapping[str, Any] | None, metric: str | None) -> dict[str, Any] | None:
    """A score with its resamples; None where a result has none."""
    if not result or result["status"] != "ok" or not result["metrics"]:
        return None
    name = metric or result["metrics"][0]["metric"]
    entry = next((entry for entry in result["metrics"] if entry["metric"] == name), None)
    replicates = (result.get("replicates") or {}).get(name)
    if entry is None or not replicates or not result.get("units_key") or entry["value"] is None:
        return None
    # JSON has null for what is not defined.
    values = np.array([np.nan if value is None else value for value in replicates], float)
    return {
        "name": name,
        "estimate": Estimate(float(entry["value"]), np.nan, np.nan, values),
        "key": (result["units_key"], len(values)),
        "n": entry.get("n"),
    }
