"""Write a sheet for a folder of images."""

from job import job
from subcell.catalog.make_sheet import make_sheet

with job(snakemake) as run:
    settings = dict(snakemake.params.settings)
    output = settings.pop("output")
    fields = make_sheet(out=output, **settings)
    print(f"{output}: {len(fields)} fields")
