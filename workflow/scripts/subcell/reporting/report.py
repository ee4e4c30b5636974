"""The report: one HTML file that opens from disk, loads nothing and runs no script."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from anndata.io import read_elem
from h5py import File
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from subcell import __version__
from subcell.catalog.set_aside import read_set_aside
from subcell.config.code import code_version
from subcell.reporting import results as scores
from subcell.reporting.figures import (
    comparison_figure,
    frequent_locations,
    level_columns,
    map_figure,
    readable,
    training_figure,
)
from subcell.reporting.pictures import inlined_figure, inlined_picture

STAGES = (
    *("catalog", "imaging", "sources", "segmentation", "crops"),
    *("model", "embedding", "atlas", "benchmarks", "reporting"),
)
PACKAGES = (
    *("snakemake", "numpy", "pandas", "scikit-image", "scikit-learn", "tifffile", "cellpose"),
    *("segmentation-models-pytorch", "torch", "timm", "lightning", "anndata", "igraph", "umap-learn"),
)
PICTURES_BYTES = 6_000_000
"""What all pictures of fields and cells may take together; as base64 a third more."""

FIGURES_BYTES = 3_500_000
LARGEST_FIGURE_BYTES = 400_000
"""What all figures may take together as lines, and one of them; those above their share become pixels."""

MEMBERS_SHOWN = 24
ROWS_SHOWN = 200


def write_report(
    out_html: str | Path,
    *,
    config: Mapping[str, Any],
    datasets: Sequence[Mapping[str, Any]],
    benchmarks: Iterable[str | Path],
    summary_tsv: str | Path,
    not_run_tsv: str | Path,
    templates: str | Path,
    curves: Mapping[str, str | Path] | None = None,
    maps: Sequence[Mapping[str, Any]] = (),
    run: Mapping[str, Any] | None = None,
) -> None:
    """Write the report of one run.

    Parameters
    ----------
    out_html : file to write
    config : the whole configuration, defaults included
    datasets : of each: name, quality_tsv, set_aside_tsv, gallery_png, crops_png; `simulated` where the configuration
        does not say it
    benchmarks : result files, those that were not run included
    summary_tsv : the tidy table of all scores, with the paired differences
    not_run_tsv : what was asked for and could not be run
    templates : folder with report.html.j2 and report.css
    curves : model -> training.parquet of the models that were trained
    maps : of each: dataset, model, map_h5ad, clusters_tsv
    run : what the caller knows better: `command`, `commit`, `code` (hash of the library's modules), `versions` (package ->
        version); each may be missing, the last two are then those found here

    Raises
    ------
    SubcellError : a benchmark result cannot be read
    """
    results = scores.read_benchmarks(benchmarks)
    summary = scores.read_summary(summary_tsv)
    models = {name: _describe_model(name, settings) for name, settings in config.get("models", {}).items()}
    curves = curves or {}
    room = PICTURES_BYTES // max(1, 2 * len(datasets))
    figure_room = min(LARGEST_FIGURE_BYTES, FIGURES_BYTES // max(1, len(results) + len(curves) + len(maps)))
    shown = [_describe_dataset(entry, config, max_bytes=room) for entry in datasets]
    tables = scores.model_tables(results, summary, models=list(models))
    page = {
        "config": config,
        "config_yaml": yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=100),
        "models": models,
        "datasets": shown,
        "tables": tables,
        "figures": {dataset: _draw_comparisons(table, max_bytes=figure_room) for dataset, table in tables.items()},
        "segmentation": [result for result in results if result["benchmark"] == "segmentation"],
        "all_metrics": scores.all_metrics(results),
        "not_run": scores.read_not_run(not_run_tsv),
        "curves": [_describe_curves(name, path, max_bytes=figure_room) for name, path in curves.items()],
        "maps": [_describe_map(entry, max_bytes=figure_room) for entry in maps],
        "run": {
            **{"command": None, "commit": None, "code": code_version(*STAGES), "versions": installed_versions()},
            **(run or {}),
        },
        "library_version": __version__,
    }
    html = _environment(templates).get_template("report.html.j2").render(page)
    path = Path(out_html)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(path)


def installed_versions() -> dict[str, str]:
    """Versions of Python and of those of `PACKAGES` that are installed here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _environment(templates: str | Path) -> Environment:
    """Templates in which every value is escaped, and a name that does not exist is an error."""
    environment = Environment(
        loader=FileSystemLoader(str(templates)),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        number=scores.number,
        grouped=scores.grouped,
        counted=scores.counted,
        readable=readable,
        interval=lambda m: scores.interval(*m),
    )
    return environment


def _describe_dataset(entry: Mapping[str, Any], config: Mapping[str, Any], *, max_bytes: int) -> dict[str, Any]:
    """Numbers, pictures and set-aside rows of one dataset."""
    settings = config.get("datasets", {}).get(entry["name"], {})
    quality = pd.read_csv(entry["quality_tsv"], sep="\t", dtype={"cell_line": str}, encoding="utf-8")
    quality["cell_line"] = quality["cell_line"].fillna("")
    by_line = {
        str(line): dict(zip(part["metric"], part["value"], strict=True))
        for line, part in quality.groupby("cell_line", sort=False)
    }
    table = read_set_aside(entry["set_aside_tsv"])
    return {
        "name": entry["name"],
        "settings": settings,
        "simulated": entry.get("simulated", settings.get("source") == "simulate"),
        "total": by_line.pop("", {}),
        "by_line": by_line,
        "set_aside": table.head(ROWS_SHOWN).to_dict("records"),
        "set_aside_rows": len(table),
        "set_aside_reasons": table.groupby("stage", sort=False).size().to_dict(),
        "gallery": inlined_picture(entry["gallery_png"], max_bytes=max_bytes),
        "crops": inlined_picture(entry["crops_png"], max_bytes=max_bytes),
    }


def _describe_model(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is, in words."""
    kind = settings.get("kind", "")
    trained_on = list(settings.get("train_on") or [])
    size = settings.get("size", "")
    words = {
        "subcell": f"SubCell vision transformer ({size}), recipe {settings.get('recipe', '')}",
        "random_vit": f"The same network ({size}), untrained",
        "handcrafted": "Classical features: intensity, shape, texture",
        "shortcuts": "What must not suffice: cell count, areas, mean intensities, mask shape",
    }
    return {"name": name, "kind": kind, "words": words.get(kind, kind), "train_on": trained_on, "settings": settings}


def _describe_curves(name: str, path: str | Path, *, max_bytes: int) -> dict[str, Any]:
    """Curves of one training."""
    training = pd.read_parquet(path)
    return {
        "model": name,
        "figure": inlined_figure(training_figure(training), max_bytes=max_bytes),
        "epochs": None if training.empty else int(training["epoch"].max()),
        "steps": None if training.empty else int(training["step"].max()),
        "metrics": [readable(metric) for metric in sorted(training["metric"].unique())],
    }


def _draw_comparisons(table: Mapping[str, Any], *, max_bytes: int) -> list[dict[str, Any]]:
    """One figure for each benchmark that ran for at least one model."""
    figures = []
    for number, column in enumerate(table["benchmarks"]):
        rows = [
            {"model": row["model"], **cell}
            for row in table["rows"]
            if (cell := row["cells"][number]) and "not_run" not in cell and cell["value"] is not None
        ]
        if rows:
            frame = pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})
            figure = comparison_figure(frame, metric=column["metric"] or "score", chance=column["chance"])
            figures.append({"benchmark": column["name"], **inlined_figure(figure, max_bytes=max_bytes)})
    return figures


def _describe_map(entry: Mapping[str, Any], *, max_bytes: int) -> dict[str, Any]:
    """Figure and clusters of one map."""
    with File(entry["map_h5ad"], "r") as file:
        obs = read_elem(file["obs"])
        points = read_elem(file["obsm/X_umap"]) if "obsm" in file and "X_umap" in file["obsm"] else obs.to_numpy()[:0]
        about = read_elem(file["uns"]) if "uns" in file else {}
    reason = str(about.get("not_run", "") or "")
    clusters = pd.read_csv(
        entry["clusters_tsv"], sep="\t", dtype={"cluster": str, "parent": str, "members": str}, keep_default_na=False
    )
    return {
        "dataset": entry["dataset"],
        "model": entry["model"],
        "figure": inlined_figure(map_figure(points, obs, reason=reason), max_bytes=max_bytes),
        "units": len(obs),
        "unit": str(about.get("unit", "unit")),
        "reason": reason,
        "levels": [name.removeprefix("level_") for name in level_columns(obs)],
        "locations": frequent_locations(obs, most=8),
        "clusters": [_describe_cluster(row) for row in clusters.to_dict("records")],
    }


def _describe_cluster(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table of clusters; a long list of members is cut."""
    members = [member for member in str(row.get("members", "")).split(";") if member.strip()]
    shown = members[:MEMBERS_SHOWN]
    stability = pd.to_numeric(row.get("stability"), errors="coerce")
    return {
        **{key: row.get(key, "") for key in ("level", "cluster", "parent", "size")},
        "resolution": row.get("resolution", ""),
        # With the share of members that have it, where the table says it.
        "location": row.get("name") or row.get("top_location", ""),
        "q_value": _small(row.get("q_value")),
        "stability": scores.number(stability, 2),
        "members": ", ".join(shown),
        "more": len(members) - len(shown),
    }


def _small(value: Any) -> str:
    """A corrected p-value as text; "" where there is none."""
    value = pd.to_numeric(value, errors="coerce")
    return "" if pd.isna(value) else "below 0.001" if value < 0.001 else f"{value:.3f}"


def _plain(value: Any) -> Any:
    """Plain dicts, lists and values, which YAML can write without tags."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
