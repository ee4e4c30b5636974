"""Draw fields with outlines."""

from job import job
from subcell.catalog.fields import read_fields
from subcell.reporting.figures.gallery import field_gallery

with job(snakemake):
    fields = read_fields(snakemake.input.fields)
    field_gallery(snakemake.input.images, snakemake.input.masks, fields, snakemake.output.gallery)
