"""Join the shards of one model's embeddings."""

from job import job
from subcell.embedding.run import merge_shards

with job(snakemake):
    merge_shards(snakemake.input.cells, snakemake.output.cells, set_aside=snakemake.input.set_aside)
