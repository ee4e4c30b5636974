"""Estimate how evenly each plate and channel of a dataset was lit."""

from job import job
from subcell.catalog.fields import read_fields
from subcell.imaging.camera import Camera
from subcell.imaging.flat_field import estimate_flat_fields

with job(snakemake) as run:
    estimate_flat_fields(
        snakemake.input.images,
        read_fields(snakemake.input.fields),
        snakemake.output.flat_field,
        camera=Camera(offset=snakemake.params.offset),
        progress=run.progress,
        log=run.log.warning,
    )
