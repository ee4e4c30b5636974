"""Measure where one network looks on some cells of a dataset."""

from job import job
from subcell.embedding.attention import write_attention
from subcell.embedding.kinds import build_embedder

with job(snakemake) as run:
    embedder = build_embedder(
        snakemake.wildcards.model,
        snakemake.params.settings,
        crops=snakemake.input.crops[0],
        fields=snakemake.input.fields,
        checkpoint=snakemake.input.get("checkpoint"),
        device=run.device,
        attention=True,
    )
    write_attention(
        snakemake.input.crops, embedder, snakemake.output.table, snakemake.output.examples, **snakemake.params.cells
    )
