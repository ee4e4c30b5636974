"""Gather what the report's explorer shows of one map."""

from job import job
from subcell.reporting.explorer.explorer import write_explorer

with job(snakemake):
    files = snakemake.input
    write_explorer(
        snakemake.output.explorer,
        map_h5ad=files.map,
        clusters_tsv=files.clusters,
        cells_h5ad=files.cells,
        crops=files.crops,
        more={name: files[name] for name in snakemake.params.tables},
        line=snakemake.wildcards.get("line"),
        expression=files.get("expression", files.get("truth")),
        dataset=snakemake.wildcards.dataset,
        model=snakemake.wildcards.model,
        simulated=snakemake.params.simulated,
        tiles_bytes=snakemake.params.tiles_bytes,
    )
