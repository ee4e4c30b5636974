"""Write the HTML report, its figures, and the RO-Crate of the run."""

import os
from pathlib import Path

import pandas as pd
import yaml

from job import job
from subcell.reporting.page.cards import write_cards
from subcell.reporting.page.crate import write_crate
from subcell.reporting.page.report import write_report
from subcell.reporting.provenance.runtime import read_jobs, span_of
from subcell.reporting.provenance.software import address_of, commit_of

DATASET_FILES = {
    "quality_tsv": "quality",
    "set_aside_tsv": "set_aside",
    "field_quality_tsv": "field_quality",
    "downloads_tsv": "downloads",
    "crops_png": "crops",
    "lines_png": "lines",
}
MAP_FILES = {"map_h5ad": "maps", "clusters_tsv": "clusters", "explorer_json": "explorers"}


def dataset_of(path):
    """The dataset in whose folder a file lies."""
    return Path(path).parent.name


def beside(paths):
    """Folder -> the file in it, for files that not every folder has."""
    return {Path(path).parent: path for path in paths}


with job(snakemake):
    files, out, params = snakemake.input, snakemake.output, snakemake.params
    sources, agreements = beside(files.sources), beside(files.agreements)
    galleries, plates = (
        {folder.parent: path for folder, path in beside(paths).items()} for paths in (files.galleries, files.plates)
    )
    datasets = [
        {"name": name, "simulated": params.config["datasets"][name]["source"] == "simulate"} for name in params.datasets
    ]
    vectors = [
        {"name": dataset_of(Path(path).parent), "simulated": False, "cells_h5ad": path} for path in files.vectors
    ]
    for number, dataset in enumerate(datasets):
        dataset |= {key: files[name][number] for key, name in DATASET_FILES.items()}
        folder = Path(dataset["quality_tsv"]).parent
        dataset |= {"source_json": sources.get(folder), "gallery_png": galleries.get(folder)}
        dataset["plates_tsv"] = plates.get(folder)
    maps = [dict(zip(("dataset", "model", "line"), parts, strict=False)) for parts in params.mapped]
    for number, entry in enumerate(maps):
        entry |= {key: files[name][number] for key, name in MAP_FILES.items()}
        entry["agreement_tsv"] = agreements.get(Path(entry["map_h5ad"]).parent)
    looks = zip(params.networks, files.attention, files.overlays, strict=True)
    write_report(
        out.html,
        config=params.config,
        datasets=[*datasets, *vectors],
        maps=maps,
        curves=dict(zip(params.trained, files.curves, strict=True)),
        reconstructions={folder.name: path for folder, path in beside(files.reconstructions).items()},
        attention=[
            {"dataset": dataset, "model": model, "attention_tsv": table, "overlays_png": overlays}
            for (dataset, model), table, overlays in looks
        ],
        benchmarks=list(files.scores),
        not_run_tsv=files.not_run,
        leaderboard=files.leaderboard,
        seeds_tsv=files.seeds,
        published_csv=files.published,
        leakage=dict(zip(map(dataset_of, files.leakage), files.leakage, strict=True)),
        templates=Path(files.templates[0]).parent,
        environments=list(files.environments),
        logs=params.logs,
        out_figures=out.figures,
        run={
            "command": os.environ.get("SUBCELL_COMMAND"),
            "commit": commit_of(Path(__file__).resolve().parents[2]),
        },
    )
    write_cards(out.cards, params.config, pd.read_parquet(files.leaderboard))
    write_crate(
        out.crate,
        results=[
            *(out.html, files.summary, files.not_run, files.leaderboard, files.seeds, *files.quality, *files.set_aside),
            *(*files.scores, *files.maps, *files.clusters, *files.checkpoints, *files.curves),
            *sorted(Path(out.figures).iterdir()),
            *sorted(Path(out.cards).glob("*.md")),
        ],
        workflow_files=list(files.workflow),
        config_yaml=yaml.safe_dump(params.config, sort_keys=False, allow_unicode=True),
        datasets=[*datasets, *vectors],
        span=span_of(read_jobs(params.logs)),
        snakemake=params.snakemake,
        address=address_of(Path(__file__).resolve().parents[2]),
        people=params.config["crate"],
    )
