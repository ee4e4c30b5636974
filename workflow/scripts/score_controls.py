"""Score the control rows of one benchmark on one dataset."""

from importlib import import_module

from job import job
from subcell.benchmarks.guards.controls import load_file, run_controls
from subcell.config.suite import module_of

with job(snakemake) as run:
    params = snakemake.params
    inputs = dict(snakemake.input.items())
    name = snakemake.wildcards.benchmark
    task = load_file(name, params.file) if params.file else import_module(module_of(name))
    run_controls(
        task,
        inputs.pop("cells"),
        out_jsons=dict(zip(params.names, snakemake.output.scores, strict=True)),
        out_parquets=dict(zip(params.names, snakemake.output.predictions, strict=True)),
        dataset=snakemake.wildcards.dataset,
        simulated=params.simulated,
        source_model=params.model,
        split_by=params.split_by,
        **({"device": run.device} if getattr(task, "TRAINS", False) else {}),
        **inputs,
        **params.scoring,
    )
