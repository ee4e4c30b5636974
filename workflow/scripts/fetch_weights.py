"""Bring the released weights of one network."""

from job import job
from subcell.sources import downloader_of
from subcell.sources.weights import LARGEST_MB, fetch_weights

with job(snakemake) as run:
    fetch_weights(
        snakemake.wildcards.released,
        snakemake.output.folder,
        downloader=downloader_of(snakemake.config["download"], max_mb=LARGEST_MB, log=run.log.info),
        log=run.log.info,
        **snakemake.params.settings,
    )
