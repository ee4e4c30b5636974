"""Which model is best and which second, and whether the paired intervals allow to say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.benchmarks.compare import compare_models

RANK_COLUMNS = ("dataset", "benchmark", "metric", "place", "model", "over", "value", "low", "high", "n", "decided")


def rank_models(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare the best model with the second, and the second with the third, on the same units and resamples.

    Parameters
    ----------
    results : model -> result of one benchmark on one dataset; its first metric is the headline, higher is better

    Returns
    -------
    at most two rows, the last eight of `RANK_COLUMNS` but `metric`: the model in a place, the next one (`over`), the
    difference with its paired 95% interval, and whether that interval lies above zero (`decided`)
    """
    scores = {
        model: float(result["metrics"][0]["value"])
        for model, result in results.items()
        if result["metrics"][0]["value"] is not None
    }
    ordered = sorted(scores, key=lambda model: (-scores[model], model))
    rows = []
    for place, model, over in zip(("best", "second"), ordered, ordered[1:], strict=False):
        for entry in compare_models({model: results[model], over: results[over]}, reference=over):
            numbers = {key: entry[key] for key in ("value", "low", "high", "n")}
            rows.append({"place": place, "model": model, "over": over, **numbers, "decided": bool(entry["low"] > 0)})
    return rows


def read_ranks(path: str | Path) -> pd.DataFrame:
    """Read the table of ranks; `decided` is bool."""
    names = dict.fromkeys(("dataset", "benchmark", "metric", "place", "model", "over"), str)
    table = pd.read_csv(path, sep="\t", dtype=names, keep_default_na=False, encoding="utf-8")
    return table.assign(decided=table["decided"].astype(str) == "True")
