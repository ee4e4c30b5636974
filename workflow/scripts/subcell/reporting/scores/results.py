"""Benchmark results as the tables that the report shows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.config.suite import CONTROLS
from subcell.errors import SubcellError
from subcell.names import plural
from subcell.tables import read_table

DIFFERENCE = "_minus_"
"""Joins a metric and the reference model in the name of a paired difference, e.g. macro_ap_minus_random_vit."""

TOGETHER = {"compound_map": "mechanism_map", "mechanism_map": "compound_map"}
"""Metrics that are read together: a profile can find replicates of a compound and still say nothing of its mechanism."""


def read_benchmarks(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Read benchmark results, those that were not run included.

    Raises
    ------
    SubcellError : a file is missing or is no benchmark result
    """
    results = []
    for path in paths:
        try:
            result = json.loads(Path(path).read_text(encoding="utf-8"))
            missing = {"benchmark", "dataset", "model", "status", "metrics"} - set(result)
        except (OSError, ValueError, TypeError) as error:
            raise SubcellError(f"{path}: cannot read a benchmark result ({error}); delete it and run again") from None
        if missing:
            raise SubcellError(f"{path}: lacks {', '.join(sorted(missing))}; delete it and run again")
        results.append(result)
    return results


def read_summary(path: str | Path) -> pd.DataFrame:
    """Read the tidy table of all scores; names are text, whatever they look like."""
    names = ("dataset", "model", "benchmark", "metric")
    table = read_table(path, dtype=dict.fromkeys(names, str))
    return table.fillna(dict.fromkeys(names, ""))


def read_not_run(path: str | Path) -> list[dict[str, str]]:
    """Read the table of what was asked for and could not be run, models with the same reason in one entry.

    Returns
    -------
    entries with benchmark, dataset, reason, and models, joined by ", "
    """
    table = read_table(path, dtype=str, keep_default_na=False)
    models: dict[tuple[str, str, str], list[str]] = {}
    for row in table.to_dict("records"):
        models.setdefault((row["benchmark"], row["dataset"], _reason(row)), []).append(row["model"])
    return [
        {"benchmark": benchmark, "dataset": dataset, "reason": reason, "models": ", ".join(filter(None, names))}
        for (benchmark, dataset, reason), names in models.items()
    ]


def number(value: Any, digits: int = 3) -> str:
    """A score as text: fixed digits, a real minus sign, a dash where there is none."""
    if value is None or not math.isfinite(float(value)):
        return "–"
    return f"{float(value):.{digits}f}".replace("-", "−")


def signed(value: Any, digits: int = 3) -> str:
    """A difference as text, with its sign."""
    text = number(value, digits)
    return text if text[0] in "−–" else f"+{text}"


def interval(low: Any, high: Any, *, digits: int = 3, sign: bool = False) -> str:
    """A 95% interval as text: "0.431 to 0.602"; "" where there is none."""
    if any(bound is None or not math.isfinite(float(bound)) for bound in (low, high)):
        return ""
    show = signed if sign else number
    return f"{show(low, digits)} to {show(high, digits)}"


def grouped(value: Any) -> str:
    """A count as text, thousands set apart."""
    return "–" if value is None or not math.isfinite(float(value)) else f"{int(value):,}".replace(",", "\u2009")


def counted(n: Any, unit: str | None) -> str:
    """How many of what, as text: "21 antibodies", "1 field"; "" where it is unknown."""
    if n is None:
        return ""
    name = unit or "item"
    return f"{grouped(n)} {name if n == 1 else plural(name)}"


Groups = dict[tuple[str, str], dict[str, Mapping[str, Any]]]
"""(dataset, benchmark) -> model -> result."""


def by_task(results: Sequence[Mapping[str, Any]]) -> Groups:
    """Results of models that ran, by dataset and benchmark; controls bound the models and compete with none."""
    groups: Groups = {}
    for result in results:
        if result["status"] == "ok" and result["metrics"] and result["model"] not in CONTROLS:
            groups.setdefault((result["dataset"], result["benchmark"]), {})[result["model"]] = result
    return groups


def score_tables(
    table: pd.DataFrame,
    results: Sequence[Mapping[str, Any]],
    *,
    models: Sequence[str],
    seconds: Mapping[tuple[str, str, str], float] | None = None,
) -> dict[str, dict[str, Any]]:
    """For every dataset its benchmarks, each with the headline score of all models and controls.

    Parameters
    ----------
    table : see `subcell.reporting.scores.leaderboard`
    results : benchmark results, for their settings and for metrics that are read together
    models : names of models, in the order of the columns
    seconds : (dataset, benchmark, model) -> how long its job took

    Returns
    -------
    dataset -> {"models": [...], "controls": [...], "benchmarks": [...], "not_run": {benchmark: reason}}. A benchmark has
    name, metric, unit, chance, n, seeds (None where they differ between models), reference, informative (None: no shortcut
    was scored), null (it has p values against chance), settings, seconds, and `cells` and `controls`: of each model or
    control one of {value, interval, rank, place, above_chance, difference, difference_interval, p, beats, also, ...},
    {not_run}, or None. Benchmarks that ran for no model are in `not_run`.
    """
    by_name = {(result["dataset"], result["benchmark"], result["model"]): result for result in results}
    tables: dict[str, dict[str, Any]] = {}
    for dataset, here in table[table["role"] != "dataset"].groupby("dataset", sort=False):
        present = [model for model in models if model in set(here["model"])]
        controls = [name for name in CONTROLS if name in set(here["model"])]
        rows: list[dict[str, Any]] = []
        reasons: dict[str, str] = {}
        for benchmark, part in here.groupby("benchmark", sort=False):
            ran = part[(part["status"] == "ok") & (part["role"] != "control")]
            if ran.empty:
                of_models = part.loc[part["role"] != "control", "reason"]
                if len(of_models):
                    reasons[str(benchmark)] = "; ".join(dict.fromkeys(of_models))
                continue
            cells = {row["model"]: _cell(row, by_name) for row in part.to_dict("records")}
            first = by_name[(dataset, benchmark, ran["model"].iloc[0])]
            took = [value for key, value in (seconds or {}).items() if key[:2] == (dataset, benchmark)]
            rows.append(
                _common([cells[model] for model in ran["model"]])
                | {
                    "name": benchmark,
                    "informative": _or_none(ran["informative"].iloc[0]),
                    "reference": next((cell["reference"] for cell in cells.values() if cell.get("reference")), None),
                    "null": bool(ran["null_p"].notna().any()),
                    "settings": settings_as_text(first.get("settings") or {}),
                    "seconds": sum(took) if took else None,
                    "cells": [cells.get(model) for model in present],
                    "controls": [cells.get(name) for name in controls],
                }
            )
        tables[str(dataset)] = {"models": present, "controls": controls, "benchmarks": rows, "not_run": reasons}
    return tables


def _cell(row: Mapping[str, Any], results: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> dict[str, Any]:
    """What one field of a table of models shows."""
    if row["status"] != "ok":
        return {"not_run": row["reason"]}
    cell = {key: _or_none(value) for key, value in row.items()}
    cell["interval"] = interval(cell["low"], cell["high"])
    cell["also"] = [
        {"metric": other["metric"], "value": other["value"], "interval": interval(other.get("low"), other.get("high"))}
        for other in results[(row["dataset"], row["benchmark"], row["model"])]["metrics"][1:]
        if other["metric"] == TOGETHER.get(row["metric"])
    ]
    if cell["difference"] is not None:
        cell["difference_interval"] = interval(cell["difference_low"], cell["difference_high"], sign=True)
        cell["beats"] = beats(cell["difference_low"], cell["difference_high"])
    return cell


def beats(low: float | None, high: float | None) -> int:
    """Whether the interval of a difference lies above zero (1), below it (-1) or neither (0)."""
    return 1 if (low or 0) > 0 else -1 if (high or 0) < 0 else 0


def rank_as_text(cell: Mapping[str, Any]) -> str:
    """A rank with its range: "1", "2 to 3"; "" where there is none."""
    if cell.get("rank") is None:
        return ""
    low, high = cell["rank_low"], cell["rank_high"]
    return f"{cell['rank']}" if low == high else f"{cell['rank']} ({low} to {high})"


def p_as_text(value: Any) -> str:
    """A p value as text: "0.031", "< 0.001"."""
    if value is None or not math.isfinite(float(value)):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _common(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all models that were scored have in common."""
    found: dict[str, Any] = {}
    for key in ("metric", "unit", "chance", "n", "seeds"):
        values = {_comparable(cell.get(key)) for cell in cells}
        found[key] = values.pop() if len(values) == 1 else None
    return found


def _or_none(value: Any) -> Any:
    """A value of a table; what is missing is None, numbers are Python's."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def read_published(path: str | Path) -> list[dict[str, str]]:
    """Published scores: source, dataset, model, benchmark, metric, value, comparable, why."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    return [{str(key): str(value) for key, value in row.items()} for row in table.to_dict("records")]


def settings_as_text(settings: Mapping[str, Any]) -> dict[str, str]:
    """How a benchmark was scored, name and value as text; what is unset is left out."""
    shown = {}
    for name, value in settings.items():
        if value is None or value == [] or isinstance(value, Mapping):
            continue
        shown[str(name).replace("_", " ")] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return shown


def _comparable(value: Any) -> Any:
    """Scores equal to the digits shown count as the same."""
    return round(value, 3) if isinstance(value, float) and math.isfinite(value) else value


def _reason(result: Mapping[str, Any]) -> str:
    """Why a benchmark was not run, without the words "not run" that stand before it anyway."""
    return str(result.get("reason") or "no reason was given").removeprefix("not run: ")


def all_metrics(results: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Every metric of every benchmark that ran, by dataset, benchmark by benchmark, formatted."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result["status"] != "ok":
            continue
        for metric in result["metrics"]:
            tables.setdefault(result["dataset"], []).append(
                {
                    **{key: result[key] for key in ("model", "benchmark")},
                    "metric": metric["metric"],
                    "n": counted(metric.get("n"), metric.get("unit")),
                    "seeds": metric.get("seeds"),
                    "value": number(metric.get("value")),
                    "interval": interval(metric.get("low"), metric.get("high")),
                    "chance": number(metric.get("chance")),
                }
            )
    for rows in tables.values():
        order = list(dict.fromkeys(row["benchmark"] for row in rows))
        rows.sort(key=lambda row: order.index(row["benchmark"]))
    return tables
