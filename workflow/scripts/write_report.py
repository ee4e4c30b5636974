"""Write the HTML report."""

from pathlib import Path

from job import job
from subcell.reporting.report import write_report

with job(snakemake):
    names = [name for name, one in snakemake.config["datasets"].items() if one["source"] != "embeddings"]
    pairs = snakemake.params.pairs
    files = snakemake.input
    write_report(
        snakemake.output.html,
        config=snakemake.params.config,
        datasets=[
            {"name": name, "quality_tsv": q, "set_aside_tsv": s, "gallery_png": g, "crops_png": c}
            for name, q, s, g, c in zip(names, files.quality, files.set_aside, files.fields, files.crops, strict=True)
        ],
        curves=dict(zip(snakemake.params.trained, files.curves, strict=True)),
        maps=[
            {"dataset": dataset, "model": model, "map_h5ad": map_h5ad, "clusters_tsv": clusters_tsv}
            for (dataset, model), map_h5ad, clusters_tsv in zip(pairs, files.maps, files.clusters, strict=True)
        ],
        benchmarks=list(files.scores),
        summary_tsv=files.summary,
        not_run_tsv=files.not_run,
        templates=Path(files.templates[0]).parent,
    )
