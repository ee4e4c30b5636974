"""Draw crops, and cell lines by location."""

from job import job
from subcell.reporting.figures.gallery import crop_gallery, line_gallery

with job(snakemake):
    crop_gallery(snakemake.input.crops, snakemake.output.crops)
    line_gallery(snakemake.input.crops, snakemake.output.lines)
