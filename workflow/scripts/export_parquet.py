"""Write the vectors of one model as a parquet table."""

from job import job
from subcell.embedding.store import export_parquet

with job(snakemake):
    export_parquet(snakemake.input.cells, snakemake.output.table)
