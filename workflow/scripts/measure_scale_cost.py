"""Measure what coarse pixels cost one network."""

from job import job
from subcell.embedding.kinds import build_embedder
from subcell.embedding.scale import write_scale_cost

with job(snakemake) as run:
    embedder = build_embedder(
        snakemake.wildcards.model,
        snakemake.params.settings,
        crops=snakemake.input.crops[0],
        fields=snakemake.input.fields,
        checkpoint=snakemake.input.get("checkpoint"),
        device=run.device,
    )
    write_scale_cost(snakemake.input.crops, embedder, snakemake.output.table, **snakemake.params.cells)
