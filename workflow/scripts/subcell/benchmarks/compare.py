"""Models compared in pairs, on the same cells and the same resamples of proteins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subcell.benchmarks.bootstrap import paired_bootstrap
from subcell.benchmarks.metrics import METRICS
from subcell.benchmarks.result import PROBABILITY, TRUTH
from subcell.errors import SubcellError


def compare_models(
    parquets: Mapping[str, str | Path],
    *,
    reference: str = "random_vit",
    metric: str = "macro_ap",
    bootstraps: int = 1000,
    seed: int = 42,
) -> list[dict[str, Any]]:
    """Difference of every model to a reference, with its paired 95% interval.

    Parameters
    ----------
    parquets : model -> predictions of one benchmark on one dataset; those without rows are passed over
    reference : the model that is subtracted
    metric : key of `subcell.benchmarks.metrics.METRICS`
    bootstraps, seed : of the resamples of units

    Returns
    -------
    one entry a model other than the reference, in the order given: model, reference, metric, value, low, high, n
    (units) and cells; [] where the reference has no predictions

    Raises
    ------
    SubcellError : two models were scored on other cells, classes or labels
    """
    if reference not in parquets:
        return []
    base = pd.read_parquet(parquets[reference])
    if base.empty:
        return []
    found = []
    for model, path in parquets.items():
        if model == reference:
            continue
        table = pd.read_parquet(path)
        if table.empty:
            continue
        table = _aligned(table, base, path, parquets[reference])
        columns = [name for name in base.columns if name.startswith(TRUTH)]
        scores = [PROBABILITY + name.removeprefix(TRUTH) for name in columns]
        difference, low, high = paired_bootstrap(
            METRICS[metric],
            base[columns].to_numpy(bool),
            table[scores].to_numpy(np.float64),
            base[scores].to_numpy(np.float64),
            base["unit"].to_numpy(str),
            bootstraps=bootstraps,
            seed=seed,
        )
        found.append(
            {
                "model": model,
                "reference": reference,
                "metric": metric,
                "value": difference,
                "low": low,
                "high": high,
                "n": int(base["unit"].nunique()),
                "cells": len(base),
            }
        )
    return found


def _aligned(table: pd.DataFrame, base: pd.DataFrame, path: str | Path, base_path: str | Path) -> pd.DataFrame:
    """Rows in the order of `base`, after checking that both speak of the same."""
    problem = ""
    truth = [name for name in base.columns if name.startswith(TRUTH)]
    if set(table.columns) != set(base.columns):
        problem = "other classes"
    elif set(table["cell_id"]) != set(base["cell_id"]) or len(table) != len(base):
        problem = "other cells"
    else:
        table = table.set_index("cell_id").loc[base["cell_id"]].reset_index()
        if not table[truth].equals(base[truth]) or not table["unit"].equals(base["unit"]):
            problem = "other labels"
    if problem:
        raise SubcellError(f"{path}: scored on {problem} than {base_path}; delete both and run again")
    return table
