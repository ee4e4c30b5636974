"""Fetch one reference file and hold it to its checksum."""

from job import job
from subcell.sources.reference import fetch_reference

with job(snakemake) as run:
    params = snakemake.params
    found = fetch_reference(
        params.download["url"],
        snakemake.output[0],
        cache=params.cache,
        sha256=params.download["sha256"],
        ledger=params.ledger,
        log=run.log.info,
    )
    run.log.info("sha256 %s", found)
