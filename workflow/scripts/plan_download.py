"""Say what downloading all datasets will cost, before any image is fetched."""

from job import job
from subcell.catalog.fields import read_fields
from subcell.sources import files_on_the_web
from subcell.sources.download import Cache
from subcell.sources.plan import describe_plans, plan_download, plans_table
from subcell.tables import write_table

with job(snakemake) as run:
    download = snakemake.config["download"]
    plans = []
    for dataset in snakemake.params.datasets:
        settings = snakemake.config["datasets"][dataset]
        fields = read_fields(snakemake.input.get(f"fields_{dataset}"))
        files = files_on_the_web(fields, settings, release=snakemake.input.get(f"release_{dataset}"))
        cache, connections = Cache(download["cache"]), download["connections"]
        plans += plan_download(dataset, settings["source"], files, cache, connections=connections)
    write_table(plans_table(plans), snakemake.output.plan)
    print(describe_plans(plans, connections=download["connections"]))
