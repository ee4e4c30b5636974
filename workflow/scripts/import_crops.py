"""Bring the published crops of one shard to our order of channels and scale."""

from job import job
from subcell.catalog.fields import read_fields
from subcell.catalog.set_aside import write_set_aside
from subcell.crops.published import import_crops

with job(snakemake) as run:
    set_aside = import_crops(
        snakemake.input.images,
        read_fields(snakemake.input.fields),
        snakemake.output.crops,
        snakemake.output.cells,
        snakemake.output.qc,
        **snakemake.params.settings,
        progress=run.progress,
    )
    write_set_aside(set_aside, snakemake.output.set_aside)
