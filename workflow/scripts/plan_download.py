"""Say what downloading all datasets will cost, before any image is fetched."""

from pathlib import Path

from job import job
from subcell.catalog.fields import read_fields
from subcell.sources.download import Cache
from subcell.sources.plan import describe_plans, plan_download, plans_table

with job(snakemake) as run:
    download = snakemake.config["download"]
    plans = [
        plan
        for dataset in snakemake.params.datasets
        for plan in plan_download(
            dataset,
            read_fields([path for path in snakemake.input if Path(path).parts[-3] == dataset]),
            Cache(download["cache"]),
            connections=download["connections"],
        )
    ]
    plans_table(plans).to_csv(snakemake.output.plan, sep="\t", index=False)
    print(describe_plans(plans, connections=download["connections"]))
