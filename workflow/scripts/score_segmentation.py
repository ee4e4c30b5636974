"""Score the masks of one dataset against its reference masks."""

from job import job
from subcell.benchmarks.tasks.segmentation import run_segmentation
from subcell.catalog.fields import read_fields

with job(snakemake):
    run_segmentation(
        read_fields(snakemake.input.fields),
        images=snakemake.input.images,
        masks=snakemake.input.masks,
        out_json=snakemake.output.scores,
        out_parquet=snakemake.output.predictions,
        dataset=snakemake.wildcards.dataset,
        model=snakemake.params.model,
        simulated=snakemake.params.simulated,
        **snakemake.params.scoring,
    )
