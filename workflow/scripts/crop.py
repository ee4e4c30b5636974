"""Cut the cells of one shard."""

from job import job
from subcell.catalog.fields import read_fields
from subcell.crops.run import crop_fields

with job(snakemake) as run:
    crop_fields(
        snakemake.input.images,
        snakemake.input.masks,
        snakemake.input.cells,
        read_fields(snakemake.input.fields),
        snakemake.output.crops,
        **snakemake.params.settings,
        progress=run.progress,
    )
