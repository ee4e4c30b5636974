"""Score cell_line of one model on one dataset."""

from job import job
from subcell.benchmarks.cell_line import run_cell_line

with job(snakemake):
    run_cell_line(
        snakemake.input.cells,
        out_json=snakemake.output.scores,
        out_parquet=snakemake.output.predictions,
        dataset=snakemake.wildcards.dataset,
        model=snakemake.wildcards.model,
        simulated=snakemake.params.simulated,
        **snakemake.params.scoring,
    )
