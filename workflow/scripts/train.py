"""Train one SubCell model."""

from job import job
from subcell.model.processes import run_processes
from subcell.model.training import train

with job(snakemake) as run:
    settings = snakemake.params.settings
    arguments = {
        "crop_paths": list(snakemake.input.crops),
        "recipe": settings["recipe"],
        "size": settings["size"],
        "seed": settings["seed"],
        **settings["training"],
        "out_checkpoint": snakemake.output.checkpoint,
        "out_curves": snakemake.output.curves,
        "state_dir": snakemake.params.state,
        "device": run.device,
        "threads": run.threads,
    }
    if run.processes == 1:
        train(**arguments, log=run.log.info)
    else:
        run_processes(run.processes, arguments, log=run.log.info)
