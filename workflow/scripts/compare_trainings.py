"""Compare options of training on their validation cells."""

from job import job
from subcell.model.loop.comparison import write_comparison

with job(snakemake) as run:
    params = snakemake.params
    table = write_comparison(
        dict(zip(params.models, snakemake.input.curves, strict=True)),
        params.models,
        reference=params.reference,
        out_tsv=snakemake.output.table,
    )
    run.log.info("%s", table.to_string(index=False))
