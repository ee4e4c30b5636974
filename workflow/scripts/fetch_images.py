"""Bring the images of one shard into the results, with a ledger."""

from job import job
from subcell.catalog.fields import read_fields
from subcell.sources import fetch_images

with job(snakemake) as run:
    fetch_images(
        read_fields(snakemake.input.fields),
        snakemake.params.settings,
        snakemake.output.images,
        release=snakemake.input.get("release"),
        download=snakemake.config["download"],
        progress=run.progress,
        log=run.log.info,
    )
