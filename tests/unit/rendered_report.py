"""A whole report of small example files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import report_example as example

from subcell.reporting.explorer.explorer import write_explorer
from subcell.reporting.figures.canvas import save_figure, text_figure
from subcell.reporting.page.report import write_report
from subcell.reporting.quality.quality import collect_quality
from subcell.segmentation.plates import METRICS, outliers

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "workflow" / "report" / "page"
EVIL = "<img src=x onerror=alert(1)>"


def write_map_with_explorer(home: Path, dataset: str, genes: list[str], *, evil: str, simulated: bool) -> dict:
    """A map with all tables that other stages may write, and the explorer's data."""
    files = example.write_map(home / "map", units=len(genes), genes=genes)
    tables = example.write_tables_of_map(home / "map", genes, evil=evil)
    fields = example.example_fields(
        [f"{dataset}_{number}" for number in range(len(genes))], gene=genes, cell_line=[evil or "A"] * len(genes)
    )
    example.write_crops(home / "crops.h5sc", fields, per_field=2)
    write_explorer(
        home / "explorer.json",
        **files,
        cells_h5ad=example.write_cells(home / "cells.h5ad", home / "crops.h5sc", attention=True),
        crops=[home / "crops.h5sc"],
        dataset=dataset,
        model="random_vit",
        simulated=simulated,
        more={name: path for name, path in tables.items() if name != "agreement"},
    )
    about = {"dataset": dataset, "model": "random_vit"}
    return {**about, **files, "explorer_json": home / "explorer.json", "agreement_tsv": tables["agreement"]}


def render_report(folder: Path, sources: dict[str, str], *, evil: str = "", no_labels: str = "") -> Path:
    """A report of small datasets; `evil` stands for every name that a sheet can bring."""
    datasets, results, differences, maps = [], [], [], []
    for name, source in sources.items():
        home = folder / name
        fields = example.example_fields([f"{name}_{i}" for i in range(5)] + [evil or "f5"])
        inputs = example.write_quality_inputs(home, fields.assign(cell_line=["A", "A", "B", "B", "B", evil or "C"]))
        collect_quality(
            **inputs, out_set_aside_tsv=home / "set_aside.tsv", out_quality_tsv=home / "quality.tsv", dataset=name,
            out_field_quality_tsv=home / "field_quality.tsv", out_downloads_tsv=home / "downloads.tsv",
            border_cells="drop",
        )  # fmt: skip
        qc = [dict.fromkeys(METRICS, 10.0) | {"plate": f"P{i // 5}", "field_id": f"{i:02}"} for i in range(30)]
        qc = pd.DataFrame(qc).assign(plate=lambda table: table["plate"].replace("P5", evil or "P5"), status="ok")
        qc.loc[25:, "cell_area_um2"] = 900.0
        outliers(qc)[1].to_csv(home / "plates.tsv", sep="\t", index=False)
        for picture in ("fields.png", "crops.png", "lines.png"):
            save_figure(text_figure("a picture"), home / picture)
        datasets.append({
            "name": name, "quality_tsv": home / "quality.tsv", "set_aside_tsv": home / "set_aside.tsv",
            "gallery_png": home / "fields.png", "crops_png": home / "crops.png", "lines_png": home / "lines.png",
            "field_quality_tsv": home / "field_quality.tsv", "downloads_tsv": home / "downloads.tsv",
            "plates_tsv": home / "plates.tsv",
        })  # fmt: skip
        for model, value in (("mae_cells_prots_pool", 0.58123), ("random_vit", 0.31)):
            score = {"dataset": name, "model": model, "simulated": source == "simulate"}
            results.append(example.write_result(
                home / model / "localization.json", **score, benchmark="localization", reason=no_labels,
                value=value, low=value - 0.1, high=value + 0.05,
            ))  # fmt: skip
            results.append(
                example.write_result(home / model / "cell_line.json", **score, benchmark="cell_line", metric="accuracy")
            )
        if not no_labels:
            differences.append((name, "mae_cells_prots_pool", "localization", 0.27123, 0.2, 0.33))
        genes = [f"G{i}" for i in range(11)] + [evil or "G11"]
        maps.append(write_map_with_explorer(home, name, genes, evil=evil, simulated=source == "simulate"))
    example.write_training(folder / "training.parquet", epochs=6)
    write_report(
        folder / "report.html",
        config=example.example_config(sources),
        datasets=datasets,
        benchmarks=results,
        **example.write_scores(folder, results, differences),
        templates=TEMPLATES,
        curves={"mae_cells_prots_pool": folder / "training.parquet"},
        maps=maps,
        environments=sorted((ROOT / "envs").glob("*.yaml")),
        logs=example.write_logs(folder / "logs"),
        out_figures=folder / "report",
        run={"command": evil or "snakemake --cores all", "commit": evil or "v1.2-3-gabcdef0"},
    )
    return folder / "report.html"
