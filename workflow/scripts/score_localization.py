"""Score localization of one model on one dataset."""

from job import job
from subcell.benchmarks.localization import run_localization

with job(snakemake):
    run_localization(
        snakemake.input.cells,
        out_json=snakemake.output.scores,
        out_parquet=snakemake.output.predictions,
        dataset=snakemake.wildcards.dataset,
        model=snakemake.wildcards.model,
        simulated=snakemake.params.simulated,
        **snakemake.params.scoring,
    )
