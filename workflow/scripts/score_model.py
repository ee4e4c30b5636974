"""Score one model on one dataset: the benchmark of the rule's name, or the user's of the wildcard's name."""

from importlib import import_module

from job import job
from subcell.benchmarks.guards.controls import load_file
from subcell.benchmarks.guards.scored import note_scored
from subcell.config.suite import module_of

with job(snakemake) as run:
    wildcards, params = dict(snakemake.wildcards.items()), dict(snakemake.params.items())
    inputs = dict(snakemake.input.items())
    name, file = wildcards.get("benchmark", snakemake.rule), params.get("file")
    task = load_file(name, file) if file else import_module(module_of(name))
    result = task.run(
        inputs["cells"],
        out_json=snakemake.output.scores,
        out_parquet=snakemake.output.predictions,
        dataset=wildcards["dataset"],
        model=wildcards["model"],
        simulated=params["simulated"],
        split_by=params["split_by"],
        **({"device": run.device} if getattr(task, "TRAINS", False) else {}),
        **{f"out_{what}": path for what, path in snakemake.output.items() if what not in ("scores", "predictions")},
        **{name: path for name, path in inputs.items() if name != "cells"},
        **params["scoring"],
    )
    note_scored(result, inputs["cells"], params["scored_log"])
