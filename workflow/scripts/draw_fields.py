"""Draw fields with outlines, and crops."""

from job import job
from subcell.catalog.fields import read_fields
from subcell.reporting.gallery import crop_gallery, field_gallery, line_gallery

with job(snakemake):
    fields = read_fields(snakemake.input.fields)
    field_gallery(snakemake.input.images, snakemake.input.masks, fields, snakemake.output.gallery)
    crop_gallery(snakemake.input.crops, snakemake.output.crops)
    line_gallery(snakemake.input.crops, snakemake.output.lines)
