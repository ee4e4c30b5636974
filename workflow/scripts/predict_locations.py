"""Average what one model says of cells' locations over the cells of each protein."""

from job import job
from subcell.atlas.units.locations import predict_locations

with job(snakemake):
    predict_locations(snakemake.input.cells, snakemake.output.locations, unit=snakemake.params.unit)
