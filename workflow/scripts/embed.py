"""Embed the cells of one shard."""

from job import job
from subcell.embedding.kinds import NETWORKS, build_embedder
from subcell.embedding.run import embed_shard

with job(snakemake) as run:
    settings = snakemake.params.settings
    device = run.device if settings["kind"] in NETWORKS else "cpu"
    embedder = build_embedder(
        snakemake.wildcards.model,
        settings,
        crops=snakemake.input.crops,
        fields=snakemake.input.fields,
        checkpoint=snakemake.input.get("checkpoint"),
        device=device,
        log=run.log.info,
    )
    embed_shard(
        snakemake.input.crops,
        embedder,
        snakemake.output.cells,
        keep_attention=settings.get("attention", False),
        allow_upsampling=settings.get("allow_upsampling", True),
        # A processor is busy with the network; a GPU takes large batches, and several processes to feed it.
        batch_size=None if device == "cpu" else 128,
        workers=0 if device == "cpu" else run.readers,
        about=snakemake.params.about,
        progress=run.progress,
        log=run.log.info,
    )
