"""List the fields of a dataset, one table a shard."""

from job import job
from subcell.sources import list_fields

with job(snakemake) as run:
    list_fields(
        snakemake.params.dataset,
        snakemake.params.settings,
        snakemake.output.fields,
        snakemake.output.set_aside,
        release=snakemake.input.get("release"),
        download=snakemake.config["download"],
        log=run.log.info,
    )
