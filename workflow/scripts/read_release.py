"""Read what a public collection has, and the terms of its use."""

from job import job
from subcell.sources import read_release

with job(snakemake) as run:
    read_release(
        snakemake.params.settings,
        snakemake.output.release,
        snakemake.output.terms,
        entries=snakemake.params.entries,
        download=snakemake.config["download"],
        log=run.log.info,
    )
