"""Count what a dataset holds and what was set aside."""

from job import job
from subcell.reporting.quality.quality import collect_quality

with job(snakemake):
    collect_quality(
        [snakemake.input.catalog, *snakemake.input.crops],
        snakemake.input.images,
        snakemake.input.qc,
        snakemake.input.cells,
        snakemake.output.set_aside,
        snakemake.output.quality,
        fields_paths=snakemake.input.fields,
        dataset=snakemake.wildcards.dataset,
        border_cells=snakemake.params.border_cells,
        out_field_quality_tsv=snakemake.output.field_quality,
        out_downloads_tsv=snakemake.output.downloads,
    )
