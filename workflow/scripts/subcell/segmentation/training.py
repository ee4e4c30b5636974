"""Train the compact networks on simulated fields and labelled real nuclei."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from subcell.segmentation.augmentation import augmented
from subcell.segmentation.examples import (
    Example,
    from_labelled_nuclei,
    from_simulated,
    simulated_folders,
)
from subcell.segmentation.network import INPUTS, CompactNet, save_networks

FLOW_SCALE = 5.0
"""Cellpose's networks predict five times the unit flow."""


def train_compact(
    out_weights: str | Path,
    *,
    labelled: str | Path | None = None,
    simulated: Sequence[str | Path] = (),
    fields: int = 240,
    steps: int = 2400,
    seed: int = 1,
    batch: int = 8,
    crop_px: int = 192,
    learning_rate: float = 2e-3,
    working_um_per_px: float = 0.32,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> None:
    """Train the nuclei and the cell network and write their weights to one file.

    Parameters
    ----------
    out_weights : safetensors file to write
    labelled : folder of labelled real nuclei, see `subcell.segmentation.examples.from_labelled_nuclei`
    simulated : folders of simulated fields at `working_um_per_px`; when empty, `fields` of them are simulated
    fields : simulated fields
    steps : training steps of each network
    seed : of fields, weights and augmentation
    batch, crop_px : crops a step, and their side in pixels
    learning_rate : the highest; it warms up over the first 3 % and falls to 0 as a cosine
    working_um_per_px : pixel size at which the networks will work
    device : torch device
    log : called with one line at a time
    """
    nuclei, cells = _examples(
        labelled, simulated, fields=fields, seed=seed, working_um_per_px=working_um_per_px, log=log
    )
    examples = {"nuclei": nuclei, "cells": cells}
    networks = {
        name: train_network(
            new_network(name, seed=seed),
            groups,
            steps=steps,
            seed=seed,
            batch=batch,
            crop_px=crop_px,
            learning_rate=learning_rate,
            device=device,
            log=partial(_log_of, name, log),
        )
        for name, groups in examples.items()
    }
    save_networks(out_weights, networks, working_um_per_px=working_um_per_px, seed=seed)
    log(f"weights written to {out_weights}")


def new_network(name: str, *, seed: int) -> CompactNet:
    """An untrained network, "nuclei" or "cells"; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CompactNet(len(INPUTS[name]))


def train_network(
    network: CompactNet,
    groups: Sequence[Sequence[Example]],
    *,
    steps: int,
    seed: int,
    batch: int = 8,
    crop_px: int = 192,
    learning_rate: float = 2e-3,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> CompactNet:
    """Train one network; what is returned is the running average of its weights.

    Parameters
    ----------
    network : to train
    groups : examples by origin; a crop comes from every origin with the same chance
    steps : how many

    The loss is Cellpose's: mean squared error of five times the flow, halved, plus cross-entropy of the probability.
    """
    groups = [group for group in groups if len(group)]
    rng = np.random.default_rng([seed, len(groups)])
    network = network.to(device).train()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    losses = []
    for step in range(1, steps + 1):
        done = (step - 1) / steps
        for parameters in optimiser.param_groups:
            parameters["lr"] = learning_rate * min(done / 0.03 + 0.02, 0.5 * (1 + np.cos(np.pi * done)))
        crops = []
        for _ in range(batch):
            group = groups[int(rng.integers(len(groups)))]
            crops.append(augmented(group[int(rng.integers(len(group)))], rng, crop_px=crop_px))
        images = torch.from_numpy(np.stack([image for image, _ in crops])).to(device)
        targets = torch.from_numpy(np.stack([target for _, target in crops])).to(device)
        # About half the time of float32 on processors that have bfloat16; weights stay float32.
        with torch.autocast(device_type=torch.device(device).type, dtype=torch.bfloat16):
            predicted = network.coarse(images)
        predicted = predicted.float()
        flow_loss = nn.functional.mse_loss(predicted[:, :2], FLOW_SCALE * targets[:, :2]) / 2
        loss = flow_loss + nn.functional.binary_cross_entropy_with_logits(predicted[:, 2], targets[:, 2])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        average.update_parameters(network)
        losses.append(float(loss.detach()))
        if step % 100 == 0:
            log(f"step {step}, {done:.0%}, loss {np.mean(losses[-100:]):.3f}")
    network.load_state_dict(average.module.state_dict())
    return network.eval().cpu()


def _log_of(name: str, log: Callable[[str], None], line: str) -> None:
    log(f"{name}: {line}")


def _examples(
    labelled: str | Path | None,
    simulated: Sequence[str | Path],
    *,
    fields: int,
    seed: int,
    working_um_per_px: float,
    log: Callable[[str], None],
) -> tuple[list[list[Example]], list[list[Example]]]:
    """Examples of the nuclei and of the cell network, by origin."""
    real = list(from_labelled_nuclei(labelled, working_um_per_px=working_um_per_px)) if labelled else []
    log(f"{len(real)} pictures of labelled nuclei")
    with tempfile.TemporaryDirectory(prefix="compact-") as folder:
        folders = list(simulated) or simulated_folders(folder, fields=fields, seed=seed)
        sizes = [working_um_per_px] * len(folders) if simulated else None
        drawn = list(from_simulated(folders, working_um_per_px=working_um_per_px, seed=seed, pixel_sizes_um=sizes))
    log(f"{len(drawn)} simulated fields")
    return [[example["nuclei"] for example in drawn], real], [[example["cells"] for example in drawn]]
