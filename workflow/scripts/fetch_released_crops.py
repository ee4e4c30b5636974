"""Bring some published crops and their released vectors."""

from job import job
from subcell.sources.released_crops import fetch_released_crops

with job(snakemake) as run:
    fetch_released_crops(snakemake.input.table, snakemake.output.folder, log=run.log.info, **snakemake.params.settings)
