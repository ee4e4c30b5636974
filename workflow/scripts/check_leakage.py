"""Check that nothing is on both sides of the split of one dataset, or trains a network on another."""

from job import job
from subcell.benchmarks.guards.leakage import check_dataset
from subcell.catalog.fields import read_fields
from subcell.imaging.ledger import read_ledger
from subcell.model.weights.checkpoint import names_seen, read_description

with job(snakemake):
    inputs, params = snakemake.input, snakemake.params
    check_dataset(
        read_fields(inputs.fields),
        map(read_ledger, inputs.images),
        by=params.by,
        dataset=snakemake.wildcards.dataset,
        out_tsv=snakemake.output.table,
        elsewhere={
            other: (read_fields(inputs[f"fields_{other}"]), map(read_ledger, inputs[f"images_{other}"]))
            for other in params.elsewhere
        },
        networks=params.networks,
        classifiers=params.classifiers,
        weights={path: names_seen(read_description(path)) for path in inputs.get("weights", [])},
    )
