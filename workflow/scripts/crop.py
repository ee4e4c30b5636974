"""Cut the cells of one shard."""

from job import job
from subcell.catalog.fields import read_fields
from subcell.catalog.set_aside import write_set_aside
from subcell.crops.run import crop_fields
from subcell.imaging.camera import Camera

with job(snakemake) as run:
    set_aside = crop_fields(
        snakemake.input.images,
        snakemake.input.masks,
        snakemake.input.cells,
        read_fields(snakemake.input.fields),
        snakemake.output.crops,
        **snakemake.params.settings,
        camera=Camera(**{**snakemake.params.camera, "flat_field": str(snakemake.input.flat_field) or None}),
        progress=run.progress,
    )
    write_set_aside(set_aside, snakemake.output.set_aside)
