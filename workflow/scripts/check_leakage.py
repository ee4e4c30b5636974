"""Check that nothing is on both sides of the split of one dataset."""

from job import job
from subcell.benchmarks.leakage import check_dataset
from subcell.catalog.fields import read_fields
from subcell.imaging.ledger import read_ledger

with job(snakemake):
    check_dataset(
        read_fields(snakemake.input.fields),
        map(read_ledger, snakemake.input.images),
        by=snakemake.params.by,
        dataset=snakemake.wildcards.dataset,
        out_tsv=snakemake.output.table,
    )
