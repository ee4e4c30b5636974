"""All scores of a run in one tidy table, with every model's paired difference to the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.benchmarks.statistics.compare import compare_models
from subcell.config.suite import CONTROLS
from subcell.replacing import replacing
from subcell.reporting.scores.leaderboard import leaderboard, write_leaderboard
from subcell.reporting.scores.results import DIFFERENCE, Groups, by_task, interval, number, read_benchmarks, signed
from subcell.reporting.scores.seeds import scores_over_seeds, write_scores_over_seeds
from subcell.tables import read_table, write_table

SUMMARY_COLUMNS = (
    *("dataset", "model", "benchmark", "metric"),
    *("value", "low", "high", "chance", "n", "seeds", "simulated", "simulator"),
)
NOT_RUN_COLUMNS = ("dataset", "model", "benchmark", "reason")


def collect_summary(
    scores: Sequence[str | Path],
    *,
    out_summary: str | Path,
    out_not_run: str | Path,
    out_text: str | Path,
    out_leaderboard: str | Path | None = None,
    out_seeds: str | Path | None = None,
    truth: Sequence[str | Path] = (),
    models: Mapping[str, Mapping[str, Any]] | None = None,
    reference: str = "random_vit",
    informative: float = 0.8,
    **_other_scoring: Any,
) -> None:
    """Collect all scores.

    Parameters
    ----------
    scores : the JSON files of all benchmarks
    out_summary : tidy table to write, `SUMMARY_COLUMNS`. A benchmark that was not run has one row without a metric and
        value; `simulator` is its version and hash where images are simulated; a paired difference is a metric named for
        example macro_ap_minus_random_vit, with chance 0
    out_not_run : table to write of what was not run and why, `NOT_RUN_COLUMNS`
    out_text : the headline scores as text, for the terminal
    out_leaderboard : parquet to write, all models on all benchmarks: `subcell.reporting.scores.leaderboard`
    out_seeds : table to write of models with several seeds: `subcell.reporting.scores.seeds`
    truth : what is true of each simulated dataset: folders `<dataset>/truth`, which name the simulator
    models : name -> settings
    reference : the model that the others are compared with, where it was scored
    informative : see `leaderboard`

    Raises
    ------
    SubcellError : a file is missing or damaged
    """
    results = read_benchmarks(scores)
    rows: list[dict[str, Any]] = []
    for result in results:
        about = {key: result[key] for key in ("dataset", "model", "benchmark")}
        simulated = bool(result.get("simulated", False))
        if result["status"] != "ok":
            rows.append({**about, "metric": "", "simulated": simulated})
        for metric in result["metrics"] if result["status"] == "ok" else ():
            numbers = {key: metric.get(key) for key in ("metric", "value", "low", "high", "chance", "n", "seeds")}
            rows.append({**about, **numbers, "simulated": simulated})
    groups = by_task(results)
    rows += _differences(groups, reference)
    simulators = {Path(folder).parent.name: _simulator(folder) for folder in truth}
    rows = [{**row, "simulator": simulators.get(row["dataset"], "")} for row in rows]
    summary = pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS)).astype({"n": "Int64", "seeds": "Int64"})
    missing = [{key: result.get(key, "") for key in NOT_RUN_COLUMNS} for result in results if result["status"] != "ok"]
    write_table(summary, out_summary, float_format="%.6g")
    write_table(pd.DataFrame(missing, columns=list(NOT_RUN_COLUMNS)), out_not_run)
    _write(out_text, summary_text(results, summary, reference))
    if out_leaderboard:
        table = leaderboard(results, models=models or {}, reference=reference, informative=informative)
        write_leaderboard(table, out_leaderboard)
    if out_seeds:
        write_scores_over_seeds(scores_over_seeds(results, models=models or {}, reference=reference), out_seeds)


def _simulator(truth: str | Path) -> str:
    """Version and hash of what simulated a dataset, in one word."""
    made_by = read_table(Path(truth) / "simulator.tsv", dtype=str).iloc[0]
    return f"{made_by['version']}-{made_by['hash']}"


def _differences(groups: Groups, reference: str) -> list[dict[str, Any]]:
    """Rows of paired differences, for each dataset and benchmark in which the reference was scored."""
    return [
        {
            "dataset": dataset,
            "model": entry["model"],
            "benchmark": benchmark,
            "metric": entry["metric"] + DIFFERENCE + reference,
            **{key: entry[key] for key in ("value", "low", "high", "n")},
            "chance": 0.0,
            "seeds": models[entry["model"]]["metrics"][0].get("seeds"),
            "simulated": bool(models[entry["model"]].get("simulated", False)),
        }
        for (dataset, benchmark), models in groups.items()
        for entry in compare_models(models, reference=reference)
    ]


def summary_text(results: Sequence[dict[str, Any]], summary: pd.DataFrame, reference: str) -> str:
    """The headline score of every benchmark, model by model, as aligned text."""
    differences = {
        (row.dataset, row.model, row.benchmark): row
        for row in summary.itertuples()
        if row.metric.endswith(DIFFERENCE + reference)
    }
    blocks: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    titles: dict[tuple[str, str], str] = {}
    for result in results:
        if result["model"] in CONTROLS:
            continue
        key = (result["dataset"], result["benchmark"])
        lines = blocks.setdefault(key, [])
        marked = " (simulated)" if result.get("simulated") else ""
        titles.setdefault(key, f"{result['benchmark']} on {result['dataset']}{marked}")
        if result["status"] != "ok":
            lines.append((result["model"], f"not run: {result.get('reason', '')}"))
            continue
        for metric in _headlines(result):
            row = differences.get((result["dataset"], result["model"], result["benchmark"]))
            lines.append(
                (
                    result["model"],
                    metric["metric"],
                    number(metric["value"]),
                    f"({interval(metric.get('low'), metric.get('high')) or 'no interval'})",
                    f"chance {number(metric['chance'])}" if metric.get("chance") is not None else "",
                    f"{signed(row.value)} ({interval(row.low, row.high, sign=True)}) against {reference}"
                    if row
                    else "",
                )
            )
    return "\n\n".join(f"{titles[key]}\n{_aligned(lines)}" for key, lines in blocks.items()) + "\n"


def _headlines(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The first metric; of the segmentation, that of the nuclei and that of the cells."""
    if result["benchmark"] == "segmentation":
        return [metric for metric in result["metrics"] if metric["metric"].endswith("_ap50")]
    return list(result["metrics"][:1])


def _aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """Columns of text under each other; a line of two columns may be as long as it likes."""
    full = [line for line in lines if len(line) > 2]
    widths = [max(len(line[column]) for line in full) for column in range(len(full[0]))] if full else []
    first = max(len(line[0]) for line in lines)
    texts = []
    for line in lines:
        rest = (
            [text.ljust(width) for text, width in zip(line[1:], widths[1:], strict=True)] if len(line) > 2 else line[1:]
        )
        texts.append("  " + "  ".join([line[0].ljust(first), *rest]).rstrip())
    return "\n".join(texts)


def _write(path: str | Path, text: str) -> None:
    with replacing(path) as to:
        to.write_text(text, encoding="utf-8")
