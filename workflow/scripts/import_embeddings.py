"""Take vectors that came from elsewhere into the form of our own."""

from job import job
from subcell.apart import apart
from subcell.embedding.imported import import_cells

with job(snakemake) as run:
    apart(
        import_cells,
        snakemake.input.file,
        snakemake.output.cells,
        model=snakemake.wildcards.model,
        log=run.log.info,
        **snakemake.params.settings,
    )
