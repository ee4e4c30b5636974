"""Score one model on one dataset: the benchmark of the rule's name."""

from importlib import import_module

from job import job

with job(snakemake):
    import_module(f"subcell.benchmarks.{snakemake.rule}").run(
        snakemake.input.cells,
        out_json=snakemake.output.scores,
        out_parquet=snakemake.output.predictions,
        dataset=snakemake.wildcards.dataset,
        model=snakemake.wildcards.model,
        simulated=snakemake.params.simulated,
        **snakemake.params.scoring,
    )
