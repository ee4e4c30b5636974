"""Trainings beside each other on their validation cells: what to choose, without a look at a test cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from subcell.config.seeds import name_without_seed
from subcell.errors import ConfigError
from subcell.tables import write_table

METRICS = ("macro_ap", "label_ranking_ap", "retrieval")
CONFIDENCE = 0.95


def validation_scores(curves: pd.DataFrame, select: str) -> dict[str, float]:
    """What the kept weights of one training reach on its validation cells.

    Parameters
    ----------
    curves : as `subcell.model.loop.training.train` writes them
    select : which weights were kept, as in `train`; where a metric chose them, its own value is too good

    Returns
    -------
    metric -> value, of those in `METRICS` that there are
    """
    table = curves[curves["split"] == "valid"].pivot_table(index="step", columns="metric", values="value")
    if table.empty:
        return {}
    step = table[select].idxmax() if select in table else table.index.max()
    return {name: float(table.loc[step, name]) for name in METRICS if name in table}


def compare_options(scores: Mapping[str, Mapping[int, Mapping[str, float]]], reference: str) -> pd.DataFrame:
    """Options beside a reference, paired by seed.

    Parameters
    ----------
    scores : option -> seed -> what `validation_scores` gives
    reference : an option

    Returns
    -------
    a row an option and metric: `seeds`, `mean`, `sd` over them, and of the differences to the reference at the same seed
    `difference` (mean), `difference_sd`, `low` and `high` (95% t interval of the mean), `better` (seeds in which it is higher)

    Raises
    ------
    ConfigError : the reference is no option
    """
    if reference not in scores:
        raise ConfigError(f"no training is called {reference}_SEED; set `scoring.reference`, of {', '.join(scores)}")
    rows = []
    for option, seeds in scores.items():
        for metric in METRICS:
            values = pd.Series({seed: found[metric] for seed, found in seeds.items() if metric in found}, dtype=float)
            if values.empty:
                continue
            row: dict[str, Any] = {"option": option, "metric": metric, "seeds": len(values)}
            row |= {"mean": values.mean(), "sd": values.std()}
            if option != reference:
                paired = (
                    values
                    - pd.Series({seed: found.get(metric) for seed, found in scores[reference].items()}, dtype=float)
                ).dropna()
                row |= {"difference": paired.mean(), "difference_sd": paired.std(), "better": int((paired > 0).sum())}
                if len(paired) > 1:
                    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(paired) - 1) * stats.sem(paired)
                    row |= {"low": paired.mean() - half, "high": paired.mean() + half}
            rows.append(row)
    columns = ["option", "metric", "seeds", "mean", "sd", "difference", "difference_sd", "low", "high", "better"]
    return pd.DataFrame(rows).reindex(columns=columns).astype({"better": "Int64"})


def write_comparison(
    curves: Mapping[str, str | Path], models: Mapping[str, Mapping[str, Any]], *, reference: str, out_tsv: str | Path
) -> pd.DataFrame:
    """Compare trainings called OPTION_SEED and write the table.

    Parameters
    ----------
    curves : model -> its training.parquet
    models : model -> its `seed` and the `select` of its training
    reference : model, or option, that the others are compared with
    out_tsv : see `compare_options`
    """
    scores: dict[str, dict[int, dict[str, float]]] = {}
    for name, path in curves.items():
        seed = models[name]["seed"]
        found = validation_scores(pd.read_parquet(path), models[name]["select"])
        scores.setdefault(name_without_seed(name, seed), {})[seed] = found
    table = compare_options(scores, name_without_seed(reference, models.get(reference, {}).get("seed")))
    write_table(table.round(4), out_tsv)
    return table
