"""Benchmark results as the tables that the report shows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.errors import SubcellError

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
    table = pd.read_csv(path, sep="\t", dtype=dict.fromkeys(names, str), encoding="utf-8")
    return table.fillna(dict.fromkeys(names, ""))


def read_not_run(path: str | Path) -> list[dict[str, str]]:
    """Read the table of what was asked for and could not be run, models with the same reason in one entry.

    Returns
    -------
    entries with benchmark, dataset, reason, and models, joined by ", "
    """
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
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
    if n != 1:
        name = f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
    return f"{grouped(n)} {name}"


def model_tables(
    results: Sequence[Mapping[str, Any]],
    summary: pd.DataFrame,
    *,
    models: Sequence[str],
    ranks: pd.DataFrame | None = None,
    reference: str | None = None,
) -> dict[str, dict[str, Any]]:
    """For every dataset the headline scores of all models on all benchmarks.

    Parameters
    ----------
    results : benchmark results; the first metric of each is its headline
    summary : the tidy table, from which the paired differences come
    models : names of models, in the order of the rows; a result of any other model (the segmentation network) is no
        part of these tables
    ranks : the best and second of each benchmark, see `subcell.reporting.ranks`
    reference : the model of the differences, where the table has those to several

    Returns
    -------
    dataset -> {"benchmarks": [{name, metric, unit, chance, n, seeds, reference, settings}], "rows": [{model, cells}],
    "not_run": {benchmark: reason}}, where a cell is {value, interval, difference, difference_interval, beats, place, also,
    ...} or {not_run}, in the order of the benchmarks; benchmarks that ran for no model have no column. `chance`, `n` and
    `seeds` of a benchmark are None where they differ between models; each cell has its own. `place` is "best" or "second"
    where the paired interval to the next model lies above zero, else ""; `also` is the metric that is read with the
    headline (`TOGETHER`).
    """
    tables: dict[str, dict[str, Any]] = {}
    of_models = [result for result in results if result["model"] in models]
    for dataset in dict.fromkeys(result["dataset"] for result in of_models):
        here = [result for result in of_models if result["dataset"] == dataset]
        ran = [result for result in here if result["status"] == "ok" and result["metrics"]]
        names = list(dict.fromkeys(result["benchmark"] for result in ran))
        places = _places(ranks, dataset)
        cells = {
            (result["model"], result["benchmark"]): _cell(result, summary, reference)
            | {"place": places.get((result["model"], result["benchmark"]), "")}
            for result in here
        }
        settings = {result["benchmark"]: result.get("settings") or {} for result in reversed(ran)}
        columns = [
            _column(name, [cell for (_, other), cell in cells.items() if other == name])
            | {"settings": settings_as_text(settings[name])}
            for name in names
        ]
        present = [model for model in models if any((model, name) in cells for name in names)]
        rows = [{"model": model, "cells": [cells.get((model, name)) for name in names]} for model in present]
        reasons = {result["benchmark"]: _reason(result) for result in here if result["benchmark"] not in names}
        tables[dataset] = {"benchmarks": columns, "rows": rows, "not_run": reasons}
    return tables


def _places(ranks: pd.DataFrame | None, dataset: str) -> dict[tuple[str, str], str]:
    """(model, benchmark) -> "best" or "second", as far as the intervals decide it."""
    if ranks is None:
        return {}
    decided = ranks[(ranks["dataset"] == dataset) & ranks["decided"]]
    return {(row.model, row.benchmark): row.place for row in decided.itertuples()}


def _cell(result: Mapping[str, Any], summary: pd.DataFrame, reference: str | None) -> dict[str, Any]:
    """What one field of a table of models shows."""
    if result["status"] != "ok" or not result["metrics"]:
        return {"not_run": _reason(result)}
    head = result["metrics"][0]
    cell: dict[str, Any] = {
        key: head.get(key) for key in ("metric", "value", "low", "high", "chance", "n", "seeds", "unit")
    }
    cell["interval"] = interval(head.get("low"), head.get("high"))
    cell["also"] = [
        {"metric": other["metric"], "value": other["value"], "interval": interval(other.get("low"), other.get("high"))}
        for other in result["metrics"][1:]
        if other["metric"] == TOGETHER.get(head["metric"])
    ]
    difference = _difference(result, head["metric"], summary, reference)
    if difference is not None:
        cell["reference"] = difference["metric"].split(DIFFERENCE, 1)[1]
        cell["difference"] = signed(difference["value"])
        cell["difference_interval"] = interval(difference["low"], difference["high"], sign=True)
        cell["beats"] = _sign(difference)
    return cell


def _difference(
    result: Mapping[str, Any], metric: str, summary: pd.DataFrame, reference: str | None
) -> pd.Series | None:
    rows = summary[
        (summary["dataset"] == result["dataset"])
        & (summary["model"] == result["model"])
        & (summary["benchmark"] == result["benchmark"])
        & summary["metric"].str.startswith(metric + DIFFERENCE + (reference or ""))
    ]
    return rows.iloc[0] if len(rows) else None


def _sign(difference: pd.Series) -> int:
    """1 or -1 where the interval of a paired difference leaves out zero, else 0."""
    if difference["low"] > 0:
        return 1
    return -1 if difference["high"] < 0 else 0


def _column(name: str, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Head of one benchmark's columns: whatever all models have in common."""
    ran = [cell for cell in cells if "not_run" not in cell]
    column: dict[str, Any] = {"name": name}
    for key in ("metric", "unit", "chance", "n", "seeds"):
        values = {_comparable(cell.get(key)) for cell in ran}
        column[key] = values.pop() if len(values) == 1 else None
    column["reference"] = next((cell["reference"] for cell in ran if cell.get("reference")), None)
    return column


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
