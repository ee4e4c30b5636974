"""All models on all benchmarks in one table: scores, intervals, ranks, differences, and what a shortcut reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subcell.benchmarks.statistics.compare import compare_models, holm
from subcell.config.suite import CONTROLS, PLATE_ALONE
from subcell.replacing import replacing
from subcell.reporting.scores.seeds import families

LEADERBOARD_COLUMNS = (
    *("dataset", "benchmark", "metric", "model", "role", "status", "reason"),
    *("value", "low", "high", "chance", "n", "unit", "seeds", "head_sd", "seed_models", "pretraining_sd", "null_p"),
    *("rank", "rank_low", "rank_high", "place", "above_chance", "informative"),
    *("reference", "difference", "difference_low", "difference_high", "p", "p_holm", "simulated"),
)
RANKS_HOLD = (2.5, 97.5)
"""Percentiles of the ranks in resamples."""


def leaderboard(
    results: Sequence[Mapping[str, Any]],
    *,
    models: Mapping[str, Mapping[str, Any]],
    reference: str = "random_vit",
    informative: float = 0.8,
) -> pd.DataFrame:
    """One row for each dataset, benchmark and model, controls included.

    Parameters
    ----------
    results : benchmark results, those that were not run included
    models : name -> settings; their `kind` says which are shortcuts, and models that differ in `seed` only were pretrained
        with several seeds
    reference : the model that the others are compared with
    informative : share of the best model's score above chance at which a shortcut makes a benchmark say nothing

    Returns
    -------
    `LEADERBOARD_COLUMNS`: `role` is model, shortcut, control or dataset (a benchmark of no model); `rank` is that among
    models and shortcuts with its 95% range over resamples; `place` is best, then second, as long as the paired interval to
    the next model lies above zero; `above_chance` is the share of the best model's score, both less chance; `informative` is None
    where no shortcut was scored, nor the control that knows the plate alone, which counts as one here; `head_sd` is the
    spread over classifiers, `pretraining_sd` that over the `seed_models` models that differ in their seed only; `null_p` is
    the p value of the benchmark's own null, where it has one; `p_holm` is corrected over all differences
    to the reference in the table, those of all models, benchmarks and datasets: whoever reads it looks for the largest
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["dataset"], result["benchmark"]), []).append(result)
    rows = [row for group in groups.values() for row in _of_group(group, models, reference, informative)]
    table = pd.DataFrame(rows, columns=list(LEADERBOARD_COLUMNS))
    table["p_holm"] = holm(table["p"].astype(float).tolist())
    whole = ("n", "seeds", "seed_models", "rank", "rank_low", "rank_high")
    numbers = [
        *("value", "low", "high", "chance", "head_sd", "pretraining_sd", "null_p", "above_chance"),
        *("difference", "difference_low", "difference_high", "p", "p_holm"),
    ]
    return table.astype(
        {**dict.fromkeys(whole, "Int64"), **dict.fromkeys(numbers, float), "informative": "boolean", "simulated": bool}
    )


def write_leaderboard(table: pd.DataFrame, path: str | Path) -> None:
    """Write the table as parquet under its name when it is whole."""
    with replacing(path) as to:
        table.to_parquet(to, index=False)


def _of_group(
    group: Sequence[Mapping[str, Any]], models: Mapping[str, Mapping[str, Any]], reference: str, informative: float
) -> list[dict[str, Any]]:
    """Rows of one benchmark on one dataset."""
    rows = [_row(result, models) for result in group]
    scored = {row["model"]: row for row in rows if row["role"] in ("model", "shortcut") and row["value"] is not None}
    results = {result["model"]: result for result in group if result["model"] in scored}
    for entry in compare_models(results, reference=reference):
        found = {f"difference{end}": entry[key] for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))}
        scored[entry["model"]] |= {"reference": reference, **found, "p": entry["p"]}
    ordered = sorted(scored, key=lambda name: (-scored[name]["value"], name))
    for model, (low, high) in _ranks(results, ordered).items():
        scored[model] |= {"rank": ordered.index(model) + 1, "rank_low": low, "rank_high": high}
    for place, model, other in zip(("best", "second"), ordered, ordered[1:], strict=False):
        pair = compare_models({model: results[model], other: results[other]}, reference=other)
        if not pair or not pair[0]["low"] > 0:
            break  # None is second where nobody is known to be first.
        scored[model]["place"] = place
    layout = {row["model"]: row for row in rows if row["model"] == PLATE_ALONE and row["value"] is not None}
    _mark_shortcuts(scored | layout, informative)
    _spread_of_seeds(scored, models)
    say = next((row["informative"] for row in scored.values() if row.get("informative") is not None), None)
    return [{**row, "informative": say} for row in rows]


def _row(result: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    name = result["model"]
    kind = models.get(name, {}).get("kind")
    role = "control" if name in CONTROLS else "shortcut" if kind == "shortcuts" else "model" if kind else "dataset"
    ran = result["status"] == "ok" and bool(result["metrics"])
    head = result["metrics"][0] if ran else {}
    details = result.get("details") or {}
    of_headline = details.get(head.get("metric", ""))
    null = of_headline if isinstance(of_headline, Mapping) else details
    return {
        **{key: result[key] for key in ("dataset", "benchmark", "model")},
        "role": role,
        "status": "ok" if ran else "not run",
        "reason": "" if ran else str(result.get("reason") or "no reason was given").removeprefix("not run: "),
        "simulated": bool(result.get("simulated", False)),
        "metric": head.get("metric", ""),
        **{key: head.get(key) for key in ("value", "low", "high", "chance", "n", "unit", "seeds")},
        "head_sd": (details.get("head_seeds") or {}).get("macro_ap_sd"),
        "null_p": null.get("p_value"),
        "place": "",
    }


def _ranks(results: Mapping[str, Mapping[str, Any]], ordered: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Range of the rank of each model over resamples; the rank itself where models cannot be compared in pairs."""
    alone = {model: (place, place) for place, model in enumerate(ordered, start=1)}
    keys = {results[model].get("units_key") for model in ordered}
    resampled = [
        (results[model].get("replicates") or {}).get(results[model]["metrics"][0]["metric"], ()) for model in ordered
    ]
    if len(keys) != 1 or not ordered or len({len(values) for values in resampled}) != 1 or not resampled[0]:
        return alone
    values = np.array([[np.nan if value is None else value for value in row] for row in resampled], float)
    values = values[:, np.isfinite(values).all(axis=0)]
    if not values.size:
        return alone
    ranks = 1 + (values[None] > values[:, None]).sum(axis=1)
    low, high = np.percentile(ranks, RANKS_HOLD, axis=1, method="nearest")
    return {model: (int(low[number]), int(high[number])) for number, model in enumerate(ordered)}


def _mark_shortcuts(scored: Mapping[str, dict[str, Any]], informative: float) -> None:
    """Note what each model reaches of the best one, above chance, and whether shortcuts reach too much of it."""
    real = [row["value"] for row in scored.values() if row["role"] == "model"]
    shortcuts = [row for row in scored.values() if row["role"] == "shortcut" or row["model"] == PLATE_ALONE]
    if not real:
        return
    for row in scored.values():
        chance = row["chance"] or 0.0
        if max(real) > chance:
            row["above_chance"] = (row["value"] - chance) / (max(real) - chance)
    for row in shortcuts:
        # Where the best model is at chance there is nothing that a shortcut could explain.
        reached = row.get("above_chance", 1.0)
        for other in scored.values():
            other["informative"] = other.get("informative") is not False and bool(reached < informative)


def _spread_of_seeds(scored: Mapping[str, dict[str, Any]], models: Mapping[str, Mapping[str, Any]]) -> None:
    """Note the spread over models that differ in the seed of their pretraining only."""
    for names in families(models).values():
        rows = [scored[name] for name in names if name in scored]
        for row in rows if len(rows) > 1 else ():
            row["seed_models"] = len(rows)
            row["pretraining_sd"] = float(np.std([other["value"] for other in rows], ddof=1))
