"""The report: one HTML file that opens from disk, loads nothing, and runs only the script that its policy names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from subcell import __version__
from subcell.config.code import LIBRARY, code_version
from subcell.replacing import replacing
from subcell.reporting.figures.exports import Figures
from subcell.reporting.figures.figures import comparison_figure
from subcell.reporting.page.dataset_section import describe_dataset, readable_bytes
from subcell.reporting.page.map_section import describe_map
from subcell.reporting.page.methods import describe_methods
from subcell.reporting.page.model_section import describe_attention, describe_model, describe_training
from subcell.reporting.page.page import render_page
from subcell.reporting.provenance import runtime, software
from subcell.reporting.scores import results as scores
from subcell.reporting.scores import seeds as over_seeds
from subcell.tables import read_table

PICTURES_BYTES = 5_000_000
"""What all pictures of fields and cells may take together; as base64 a third more."""

FIGURES_BYTES = 5_000_000
LARGEST_FIGURE_BYTES = 400_000
"""What all figures may take together as lines, and one of them; those above their share become pixels."""


def write_report(
    out_html: str | Path,
    *,
    config: Mapping[str, Any],
    datasets: Sequence[Mapping[str, Any]],
    benchmarks: Iterable[str | Path],
    not_run_tsv: str | Path,
    templates: str | Path,
    leaderboard: str | Path,
    seeds_tsv: str | Path | None = None,
    published_csv: str | Path | None = None,
    leakage: Mapping[str, str | Path] | None = None,
    curves: Mapping[str, str | Path] | None = None,
    reconstructions: Mapping[str, str | Path] | None = None,
    maps: Sequence[Mapping[str, Any]] = (),
    attention: Sequence[Mapping[str, Any]] = (),
    environments: Sequence[str | Path] = (),
    logs: str | Path | None = None,
    out_figures: str | Path | None = None,
    run: Mapping[str, Any] | None = None,
) -> None:
    """Write the report of one run.

    Parameters
    ----------
    out_html : file to write
    config : the whole configuration, defaults included
    datasets : of each: name, quality_tsv, set_aside_tsv, gallery_png, crops_png; where there are any lines_png,
        field_quality_tsv, plates_tsv, downloads_tsv, source_json; `simulated` where the configuration does not say it. Of
        a dataset of vectors name and cells_h5ad alone
    benchmarks : result files, those that were not run included
    not_run_tsv : what was asked for and could not be run
    templates : folder with `subcell.reporting.page.page.page_files`
    leaderboard : parquet with all models on all benchmarks
    seeds_tsv : scores of models with several seeds, see `subcell.reporting.scores.seeds`
    published_csv : scores that others published, shown apart
    leakage : dataset -> table of what was checked of its split
    curves, reconstructions : model -> training.parquet and picture of reconstructed cells, of the models that were trained
    maps : of each: dataset, model, map_h5ad, clusters_tsv; where there are any line, explorer_json, agreement_tsv
    attention : of each network: dataset, model, attention_tsv, overlays_png
    environments : conda environment files of all rules
    logs : folder with the benchmark files of all jobs
    out_figures : folder to write the figures into, as SVG and CSV
    run : what the caller knows better: `command`, `commit`, `code` (hash of the library's modules)

    Raises
    ------
    SubcellError : a benchmark result cannot be read
    """
    results = scores.read_benchmarks(benchmarks)
    board = pd.read_parquet(leaderboard)
    models = {name: describe_model(name, settings) for name, settings in config.get("models", {}).items()}
    curves, reconstructions = curves or {}, reconstructions or {}
    pictures = max(1, 3 * len(datasets) + len(reconstructions) + len(attention))
    room = PICTURES_BYTES // pictures
    drawn = max(1, len(results) + len(curves) + 2 * len(maps) + len(datasets))
    figures = Figures(max_bytes=min(LARGEST_FIGURE_BYTES, FIGURES_BYTES // drawn))
    shown = [describe_dataset(entry, config, figures, max_bytes=room) for entry in datasets]
    jobs = runtime.read_jobs(logs) if logs else pd.DataFrame(columns=list(runtime.JOB_COLUMNS))
    tables = scores.score_tables(board, results, models=list(models), seconds=runtime.seconds_of_benchmarks(jobs))
    # Maps of trained models first: the first one is what a reader sees first.
    ordered = sorted(maps, key=lambda entry: entry["model"] not in curves)
    cited = software.cited(
        config,
        from_hpa=any(_from_hpa(dataset) for dataset in shown),
        segmented=any(dataset["brings"] == "fields" for dataset in shown),
    )
    page = {
        "config": config,
        "config_yaml": yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=100),
        "models": models,
        "datasets": shown,
        "tables": tables,
        "over_seeds": over_seeds.as_rows(seeds_tsv) if seeds_tsv else {},
        "figures": {dataset: _draw_comparisons(dataset, table, figures) for dataset, table in tables.items()},
        "segmentation": [result for result in results if result["benchmark"] == "segmentation"],
        "all_metrics": scores.all_metrics(results),
        "published": scores.read_published(published_csv) if published_csv else [],
        "leakage": {name: read_table(path).to_dict("records") for name, path in (leakage or {}).items()},
        "not_run": scores.read_not_run(not_run_tsv),
        "curves": [
            describe_training(name, path, figures, reconstruction=reconstructions.get(name), max_bytes=room)
            for name, path in curves.items()
        ],
        "maps": [describe_map(entry, figures) for entry in ordered],
        "attention": [describe_attention(entry, max_bytes=room) for entry in attention],
        "cited": cited,
        "methods": describe_methods(config, shown, mapped=bool(maps), cited=cited),
        "software": software.software_table(environments),
        "runtime": _describe_runtime(jobs, shown),
        "run": {**{"command": None, "commit": None, "code": code_version(*LIBRARY.rglob("*.py"))}, **(run or {})},
        "library_version": __version__,
        "readable_bytes": readable_bytes,
        "figures_folder": Path(out_figures).name if out_figures else None,
    }
    with replacing(out_html) as to:
        to.write_text(render_page(templates, page), encoding="utf-8")
        if out_figures:
            figures.write(out_figures)


def _from_hpa(dataset: Mapping[str, Any]) -> bool:
    stated = " ".join(map(str, dataset["source"].values())).lower()
    return "hpa" in str(dataset["settings"].get("source", "")).lower() or "protein atlas" in stated


def _draw_comparisons(dataset: str, table: Mapping[str, Any], figures: Figures) -> dict[str, dict[str, Any]]:
    """One figure for each benchmark that ran for at least one model."""
    drawn = {}
    for column in table["benchmarks"]:
        names = [*table["models"], *table["controls"]]
        rows = [
            {**cell, "model": name}
            for name, cell in zip(names, [*column["cells"], *column["controls"]], strict=True)
            if cell and "not_run" not in cell and cell["value"] is not None
        ]
        if rows:
            frame = pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})
            figure = comparison_figure(frame, metric=column["metric"] or "score", chance=column["chance"])
            kept = [
                name for name in ("model", "metric", "value", "low", "high", "chance", "n", "seeds") if name in frame
            ]
            drawn[column["name"]] = figures.add(f"{dataset}_{column['name']}", figure, frame[kept])
    return drawn


def _describe_runtime(jobs: pd.DataFrame, datasets: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Time and memory of all steps that have run, and what more fields would take."""
    if jobs.empty:
        return None
    steps = runtime.summarise_jobs(jobs)
    fields = {dataset["name"]: int(dataset["total"].get("fields_segmented", 0)) for dataset in datasets}
    return {
        "steps": steps,
        "totals": runtime.totals(steps),
        "jobs": len(jobs),
        "projected": runtime.project(jobs, fields),
        "sizes": runtime.PROJECTED_FIELDS,
        "fields": sum(fields.values()),
        "not_projected": {step: why for step, why in runtime.NOT_PROJECTED.items() if step in set(jobs["step"])},
    }


def _plain(value: Any) -> Any:
    """Plain dicts, lists and values, which YAML can write without tags."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
