"""Bring some published crops and their released vectors."""

from job import job
from subcell.crops.released import fetch_released_crops
from subcell.sources import downloader_of

with job(snakemake) as run:
    fetch_released_crops(
        snakemake.input.table,
        snakemake.output.folder,
        downloader=downloader_of(snakemake.config["download"], log=run.log.info),
        log=run.log.info,
        **snakemake.params.settings,
    )
