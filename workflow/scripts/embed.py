"""Embed the cells of one shard."""

from job import job
from subcell.embedding.models import NETWORKS, build_embedder
from subcell.embedding.run import embed_shard

with job(snakemake) as run:
    settings = snakemake.params.settings
    embedder = build_embedder(
        snakemake.wildcards.model,
        settings,
        crops=snakemake.input.crops,
        checkpoint=snakemake.input.get("checkpoint"),
        device=run.device if settings["kind"] in NETWORKS else "cpu",
    )
    embed_shard(snakemake.input.crops, embedder, snakemake.output.cells, progress=run.progress)
