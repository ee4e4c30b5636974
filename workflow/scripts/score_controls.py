"""Score the control rows of one benchmark on one dataset."""

from job import job
from subcell.benchmarks.controls import load_task, run_controls

with job(snakemake):
    params = snakemake.params
    inputs = dict(snakemake.input.items())
    run_controls(
        load_task(snakemake.wildcards.benchmark, params.file),
        inputs.pop("cells"),
        out_jsons=dict(zip(params.names, snakemake.output.scores, strict=True)),
        out_parquets=dict(zip(params.names, snakemake.output.predictions, strict=True)),
        dataset=snakemake.wildcards.dataset,
        simulated=params.simulated,
        source_model=params.model,
        **inputs,
        **params.scoring,
    )
