"""Draw cell counts and effects of every well of one dataset, as one model sees them."""

from job import job
from subcell.reporting.figures.plate_maps import draw_plates

with job(snakemake):
    draw_plates(snakemake.input.wells, snakemake.output.plates, title=snakemake.params.title)
