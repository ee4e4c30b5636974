"""Training in two processes: the gradients of one, and a checkpoint that is written once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_model_training import crop_file  # noqa: F401

from subcell.errors import SubcellError
from subcell.model.processes import gather, processes, rank, run_processes

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"

GRADIENTS = """
import sys
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy
from torch import distributed
from subcell.model.batches import View
from subcell.model.pretraining import Pretraining
from subcell.model.processes import processes, rank
from subcell.model.recipes import recipe_named
from subcell.model.sizes import Size

torch.set_num_threads(1)
size = Size(width=16, depth=1, heads=2, patch=8, pool_dim=8, projection_dim=16, projected_dim=8,
            decoder_width=16, decoder_depth=1, decoder_heads=2)
network = Pretraining(recipe=recipe_named("vit-prots-pool"), size=size, image_px=32, classes=2, seed=1).double()
fabric = Fabric(accelerator="cpu", devices=processes(), precision="64-true",
                strategy=DDPStrategy(find_unused_parameters=True) if processes() > 1 else "auto")
fabric.launch()
for module in network.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
forward, _ = fabric.setup(network, torch.optim.SGD(network.parameters()))
generator = torch.Generator().manual_seed(0)
count = 8
images = [torch.rand(count, 4, 32, 32, generator=generator, dtype=torch.float64) for _ in range(2)]
own = torch.arange(count).chunk(processes())[rank()]
masks = torch.ones(len(own), 32, 32, dtype=torch.bool)
losses = forward([View(image[own], masks) for image in images[: network.recipe.views]], cells=own, positives=own // 2,
                 locations=torch.eye(2)[own % 2], labelled=own % 3 > 0, generator=generator)
fabric.backward(losses["loss"] + losses["classifier"])
if rank() == 0:
    torch.save({name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}, sys.argv[1])
"""


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path):
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
    assert any(gradient.abs().max() > 1e-6 for gradient in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(
            two[name], gradient, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
def test_two_processes_train_and_say_what_is_wrong(tmp_path, crop_file):  # noqa: F811
    arguments = {
        "crop_paths": [str(crop_file)],
        "recipe": "mae-cells-prots-pool",
        "size": "tiny",
        "epochs": 2,
        "items_per_batch": 4,
        "cells_per_item": 2,
        "items_per_antibody": 1,
        "warmup_epochs": 1,
        "validate_every": 1,
        "threads": 1,
        "out_checkpoint": str(tmp_path / "checkpoint.safetensors"),
        "out_curves": str(tmp_path / "training.parquet"),
        "state_dir": str(tmp_path / "state"),
    }
    said = []
    run_processes(2, arguments, log=said.append)
    assert any("step 0 of 2, 8 cells a step" in line for line in said), said
    weights = load_file(tmp_path / "checkpoint.safetensors")
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    with pytest.raises(SubcellError, match="3 items, which 2 GPUs cannot share evenly"):
        run_processes(2, arguments | {"items_per_batch": 3}, log=said.append)


def test_a_process_alone_has_all_rows():
    values = torch.arange(6).reshape(3, 2)
    assert gather(values) is values
    assert (rank(), processes()) == (0, 1)
