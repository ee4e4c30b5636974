"""Train one SubCell model."""

from job import job
from subcell.model.processes import run_processes
from subcell.model.training import train

with job(snakemake) as run:
    settings = snakemake.params.settings
    training = dict(settings["training"])
    events = snakemake.params.tensorboard if training.pop("tensorboard") else None
    arguments = {
        "crop_paths": list(snakemake.input.crops),
        "recipe": settings["recipe"],
        "size": settings["size"],
        "seed": settings["seed"],
        "objective": settings["objective"],
        **training,
        "out_checkpoint": snakemake.output.checkpoint,
        "out_curves": snakemake.output.curves,
        "out_reconstruction": snakemake.output.get("reconstruction"),
        "out_reconstruction_errors": snakemake.output.get("reconstruction_errors"),
        "state_dir": snakemake.params.state,
        "tensorboard": events,
        "device": run.device,
        "threads": run.threads,
    }
    if run.processes == 1:
        train(**arguments, log=run.log.info)
    else:
        run_processes(run.processes, arguments, log=run.log.info)
