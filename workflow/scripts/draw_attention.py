"""Draw where one network looks."""

from job import job
from subcell.reporting.figures.attention import draw_attention

with job(snakemake):
    draw_attention(snakemake.input.examples, snakemake.output.overlays)
