"""Bring the released weights of one network."""

from job import job
from subcell.sources.weights import fetch_weights

with job(snakemake) as run:
    fetch_weights(snakemake.wildcards.released, snakemake.output.folder, log=run.log.info, **snakemake.params.settings)
