"""Score one model on one dataset: the benchmark of the rule's name, or the user's of the wildcard's name."""

from job import job
from subcell.benchmarks.controls import load_task

with job(snakemake):
    name = dict(snakemake.wildcards.items()).get("benchmark", snakemake.rule)
    inputs = dict(snakemake.input.items())
    load_task(name, dict(snakemake.params.items()).get("file")).run(
        inputs.pop("cells"),
        out_json=snakemake.output.scores,
        out_parquet=snakemake.output.predictions,
        dataset=snakemake.wildcards.dataset,
        model=snakemake.wildcards.model,
        simulated=snakemake.params.simulated,
        **{f"out_{what}": path for what, path in snakemake.output.items() if what not in ("scores", "predictions")},
        **inputs,
        **snakemake.params.scoring,
    )
