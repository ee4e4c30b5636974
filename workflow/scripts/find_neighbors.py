"""Find the most similar proteins of every protein."""

from job import job
from subcell.atlas.map.neighbors import find_neighbors

with job(snakemake):
    find_neighbors(snakemake.input.cells, snakemake.output.neighbors, **snakemake.params.settings)
