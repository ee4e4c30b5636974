"""Score one model on images of one dataset: attention or robustness."""

from importlib import import_module

from job import job
from subcell.benchmarks.guards.scored import note_scored
from subcell.benchmarks.inputs.drawn_structures import drawn_structures
from subcell.config.suite import module_of
from subcell.embedding.kinds import build_embedder

with job(snakemake) as run:
    inputs, params = snakemake.input, snakemake.params
    embedder = build_embedder(
        snakemake.wildcards.model,
        params.settings,
        crops=inputs.crops[0],
        fields=inputs.fields,
        checkpoint=inputs.get("checkpoint"),
        device=run.device,
        attention=params.task == "attention",
        log=run.log.info,
    )
    structures = drawn_structures(inputs.images, inputs.masks) if inputs.get("masks") else None
    result = import_module(module_of(params.task)).run(
        inputs.crops,
        embedder=embedder,
        structures=structures,
        cells=inputs.get("cells"),
        out_json=snakemake.output.scores,
        out_parquet=snakemake.output.predictions,
        dataset=snakemake.wildcards.dataset,
        model=snakemake.wildcards.model,
        simulated=params.simulated,
        split_by=params.split_by,
        **params.scoring,
    )
    note_scored(result, inputs.cells, params.scored_log)
