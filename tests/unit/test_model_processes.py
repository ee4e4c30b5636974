"""Training in two processes: the gradients of one, and a checkpoint that is written once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from subcell.errors import SubcellError
from subcell.model.loop.torchrun import run_processes
from subcell.model.running.processes import gather, processes, rank

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"

GRADIENTS = """
import contextlib
import sys
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy
from subcell.model.data.batches import View
from subcell.model.loop.gradients import compute_gradients
from subcell.model.loop.pretraining import Labels, Pretraining
from subcell.model.running.processes import average_gradients, mean_of_processes, processes, rank
from subcell.model.objectives.recipes import recipe_named
from subcell.model.network.sizes import Size

torch.set_num_threads(1)
if processes() > 1:
    Fabric(accelerator="cpu", devices=processes(), strategy=DDPStrategy()).launch()
size = Size(width=16, depth=1, heads=2, patch=8, pool_dim=8, projection_dim=16, projected_dim=8,
            decoder_width=16, decoder_depth=1, decoder_heads=2)
count = 8
own = torch.arange(count).chunk(processes())[rank()]
found = {}
for name in ("mae-cells-prots-pool", "vit-prots-pool"):
    for cells_per_pass in (None, 3):
        network = Pretraining(recipe=recipe_named(name), size=size, image_px=32, classes=2, spares=True, seed=1).double()
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        draws = torch.Generator().manual_seed(0)
        images = [torch.rand(count, 4, 32, 32, generator=draws, dtype=torch.float64) for _ in range(2)]
        keep = torch.rand(count, 16, generator=draws).argsort(dim=1)[:, :12].sort(dim=1).values
        network.choose = lambda view, generator: keep[own] if network.decoder is not None else None
        views = [View(image[own], torch.ones(len(own), 32, 32, dtype=torch.bool)) for image in images]
        labels = Labels(own, own // 2, own // 4, torch.eye(2)[own % 2], own % 3 > 0)
        losses = compute_gradients(network, views, labels, generator=draws, autocast=contextlib.nullcontext,
                                   cells_per_pass=cells_per_pass)
        average_gradients(network.parameters())
        found |= {f"{name} {cells_per_pass} {part}": weight.grad for part, weight in network.named_parameters()
                  if weight.grad is not None}
        found[f"{name} {cells_per_pass} losses"] = mean_of_processes(torch.stack([*losses.values()]))
if rank() == 0:
    torch.save(found, sys.argv[1])
"""


def arguments_of(folder, crop_file, **more):
    """Of a training of a few cells a step, as they are handed to processes."""
    return {
        "crop_paths": [str(crop_file)],
        "recipe": "vit-prots-pool",
        "size": "tiny",
        "items_per_batch": 4,
        "cells_per_item": 2,
        "items_per_antibody": 1,
        "threads": 1,
        "out_checkpoint": str(folder / "checkpoint.safetensors"),
        "out_curves": str(folder / "training.parquet"),
        "state_dir": str(folder / "state"),
        **more,
    }


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path):
    """Of the whole batch, reconstruction and classifier included, whether a process's part passes at once or not."""
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, launcher in (("one", []), ("two", torchrun)):
        command = [sys.executable, *launcher, str(script), str(tmp_path / name)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert {name.split()[1] for name in one} == {"None", "3"}
    assert any(gradient.abs().max() > 1e-6 for gradient in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(
            two[name], gradient, rtol=1e-7, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
def test_two_processes_train_and_say_what_is_wrong(tmp_path, crop_file):
    given = {"recipe": "mae-cells-prots-pool", "epochs": 2, "warmup_epochs": 1, "validate_every": 1}
    arguments = arguments_of(tmp_path, crop_file, **given)
    said = []
    run_processes(2, arguments, log=said.append)
    assert any("step 0 of 2, 8 cells a step" in line for line in said), said
    weights = load_file(tmp_path / "checkpoint.safetensors")
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    with pytest.raises(SubcellError, match="3 items, which 2 GPUs cannot share evenly"):
        run_processes(2, arguments | {"items_per_batch": 3}, log=said.append)


TRAINING = """
import json
import sys
from subcell.model.loop.torchrun import run_processes

run_processes(2, json.loads(sys.argv[1]), log=lambda line: print(line, flush=True))
"""


@pytest.mark.slow
def test_a_job_whose_processes_are_all_signalled_saves_and_goes_on_to_the_same_weights(tmp_path, crop_file):
    """As Slurm does at a time limit: each process hears it by itself, again by torchrun, and those that read ahead do."""

    def training(folder, *numbers):
        arguments = arguments_of(folder, crop_file, epochs=8, workers=1, seed=1)
        command = [sys.executable, "-c", TRAINING, json.dumps(arguments)]
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
        said = []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as job:
            for line in job.stdout:
                said.append(line)
                if line.startswith("step "):
                    everyone = [*psutil.Process(job.pid).children(recursive=True), psutil.Process(job.pid)]
                    for number in numbers:
                        for process in everyone:
                            with contextlib.suppress(psutil.NoSuchProcess):
                                process.send_signal(number)
        return job.returncode, "".join(said)

    whole, ended = tmp_path / "whole", tmp_path / "ended"
    assert training(whole)[0] == 0
    for numbers in ([signal.SIGTERM, signal.SIGTERM], [signal.SIGUSR1], [signal.SIGINT]):
        code, said = training(ended, *numbers)
        assert code, said
        assert "asked to end; saved after step" in said, said
    code, said = training(ended)
    assert code == 0, said
    assert "step 0 of" not in said
    weights, again = (load_file(folder / "checkpoint.safetensors") for folder in (whole, ended))
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())


FAILING = """
import sys
from pathlib import Path
from training_example import run

def fail(line):
    if line.startswith("epoch 1"):
        raise RuntimeError("it fails")

if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], workers=2, validate_every=1, log=fail)
"""


def test_a_training_that_fails_does_not_wait_for_what_reads_ahead(tmp_path, crop_file):
    script = tmp_path / "fails.py"
    script.write_text(FAILING)
    search = os.pathsep.join([str(SCRIPTS), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, script, tmp_path, crop_file], env={**os.environ, "PYTHONPATH": search}, timeout=120,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "it fails" in done.stderr
    assert done.returncode == 1


def test_a_process_alone_has_all_rows():
    values = torch.arange(6).reshape(3, 2)
    assert gather(values) is values
    assert (rank(), processes()) == (0, 1)


@pytest.mark.slow
def test_asked_to_end_torchrun_hands_it_on_and_the_state_is_saved(tmp_path, crop_file):
    """A long training, ended by a signal to the job as soon as it says that it has begun."""
    arguments = arguments_of(tmp_path, crop_file, epochs=5000, validate_every=5000)

    def end(line):
        if line.startswith("step 0 of"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SubcellError, match="asked to end; saved after step"):
        run_processes(2, arguments, log=end)
    assert (tmp_path / "state" / "last.ckpt").is_file()
