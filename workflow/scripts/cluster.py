"""Map the proteins of one dataset as one model sees them."""

from job import job
from subcell.atlas.map import build_map

with job(snakemake):
    build_map(
        snakemake.input.cells,
        out_h5ad=snakemake.output.map,
        out_tsv=snakemake.output.clusters,
        **snakemake.params.settings,
    )
