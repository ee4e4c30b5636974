"""Read a release of a public collection: which images there are, and the terms of their use."""

from job import job
from subcell.sources import downloader_of
from subcell.sources.hpa.catalog import LARGEST_MB, allowed_hosts, read_release

with job(snakemake) as run:
    settings = snakemake.params.settings
    downloader = downloader_of(
        snakemake.config["download"], hosts=allowed_hosts(settings), max_mb=LARGEST_MB, log=run.log.info
    )
    read_release(
        settings,
        snakemake.output.release,
        snakemake.output.terms,
        entries=snakemake.params.entries,
        downloader=downloader,
        log=run.log.info,
    )
