"""Train the compact segmentation network."""

from job import job
from subcell.segmentation.training import train_compact

with job(snakemake) as run:
    train_compact(
        **snakemake.params.settings, out_weights=snakemake.output.weights, device=run.device, log=run.log.info
    )
