"""Write what is true of a simulated dataset."""

from job import job
from subcell.sources import tell_truth

with job(snakemake):
    tell_truth(snakemake.params.settings, snakemake.output.truth)
