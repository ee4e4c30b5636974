"""Adapt a segmentation model to labelled fields and score it on held-out ones."""

from job import job
from subcell.segmentation.fine_tune import fine_tune

with job(snakemake) as run:
    fine_tune(
        **snakemake.params.settings,
        out_weights=snakemake.output.weights,
        out_scores=snakemake.output.scores,
        device=run.device,
        log=run.log.info,
    )
