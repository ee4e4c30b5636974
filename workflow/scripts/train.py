"""Train one SubCell model."""

from job import job
from subcell.config.reruns import run_with
from subcell.model.loop.torchrun import run_processes
from subcell.model.loop.training import train

with job(snakemake) as run:
    decisive = dict(snakemake.params.settings)
    # From the configuration: what stands in the rule's parameters, and changes, trains again.
    others = run_with(snakemake.config["models"][snakemake.wildcards.model])
    events = snakemake.params.tensorboard if others.pop("tensorboard") else None
    arguments = {
        "crop_paths": list(snakemake.input.crops),
        **decisive.pop("training"),
        **decisive,
        **others,
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
        run.log.info("torchrun starts %d processes", run.processes)
        run_processes(run.processes, arguments, log=run.log.info)
