"""Compare released weights on published crops with the released vectors."""

from job import job
from subcell.embedding.check_released import check_released

with job(snakemake) as run:
    check_released(
        snakemake.input.crops, snakemake.input.weights, snakemake.output.table, device=run.device, log=run.log.info
    )
