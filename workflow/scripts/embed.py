"""Embed the cells of one shard."""

from job import job
from subcell.embedding.models import build_embedder
from subcell.embedding.run import embed_shard

with job(snakemake) as run:
    embedder = build_embedder(
        snakemake.wildcards.model,
        snakemake.params.settings,
        crops=snakemake.input.crops,
        checkpoint=snakemake.input.get("checkpoint"),
        device=run.device,
    )
    embed_shard(snakemake.input.crops, embedder, snakemake.output.cells, progress=run.progress)
