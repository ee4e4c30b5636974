"""Fetch one reference file and hold it to its checksum."""

from job import job
from subcell.sources import downloader_of
from subcell.sources.reference import LARGEST_MB, fetch_reference

with job(snakemake) as run:
    params = snakemake.params
    found = fetch_reference(
        params.download["url"],
        snakemake.output[0],
        downloader=downloader_of(snakemake.config["download"], max_mb=LARGEST_MB, log=run.log.info),
        sha256=params.download["sha256"],
        ledger=params.ledger,
    )
    run.log.info("sha256 %s", found)
