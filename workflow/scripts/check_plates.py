"""Find fields and plates that stand out."""

from job import job
from subcell.segmentation.plates import check_plates

with job(snakemake):
    check_plates(snakemake.input.qc, snakemake.output.fields, snakemake.output.plates)
