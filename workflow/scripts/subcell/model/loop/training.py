"""Train a SubCell network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from subcell.crops.store import CropStore
from subcell.errors import ConfigError, NothingLeftError
from subcell.model.data.sampler import ItemSampler, Positives
from subcell.model.loop.loop import CellLabels, Spare, TrainingLoop
from subcell.model.loop.optimisation import Schedule
from subcell.model.loop.plan import describe_step
from subcell.model.loop.pretraining import Pretraining
from subcell.model.loop.reconstruction import write_reconstructions
from subcell.model.loop.resume import data_sha256, fingerprint
from subcell.model.loop.start import start_from
from subcell.model.loop.steps import Course, take_steps
from subcell.model.loop.validation import location_classes
from subcell.model.network.sizes import Size, size_named
from subcell.model.objectives.recipes import Recipe, recipe_named
from subcell.model.running.processes import processes, rank
from subcell.model.weights.checkpoint import save_checkpoint
from subcell.model.weights.kept import KeptEncoders, Select

WORKERS_BESIDE_A_GPU = 8


def train(
    crop_paths: Sequence[str | Path],
    *,
    recipe: str | Recipe,
    size: str | Size,
    out_checkpoint: str | Path,
    out_curves: str | Path,
    state_dir: str | Path,
    out_reconstruction: str | Path | None = None,
    out_reconstruction_errors: str | Path | None = None,
    start: str | Path | None = None,
    objective: Mapping[str, Any] | None = None,
    positives: Positives = "antibody",
    spare: Spare = "none",
    epochs: int = 300,
    items_per_batch: int = 112,
    cells_per_item: int = 8,
    items_per_antibody: int = 4,
    learning_rate: float = 1e-4,
    warmup_epochs: float = 5,
    validate_every: int = 10,
    clip: Literal["apart", "together"] = "apart",
    select: Select = "last",
    ema: float = 0.0,
    precision: Literal["32", "bf16"] = "32",
    cells_per_pass: int | None = None,
    checkpoint_activations: bool = False,
    compile: bool = False,
    seed: int = 42,
    device: str = "cpu",
    threads: int | None = None,
    workers: int | None = None,
    checkpoints: int = 3,
    tensorboard: str | Path | None = None,
    log: Callable[[str], None] | None = None,
) -> None:
    """Train a network on the training cells of some crop files, and write its encoder and curves.

    Labels of locations teach the encoder nothing, unless the recipe is supervised, `positives` or `spare` are `locations`,
    or `select` or `clip` look at them: a classifier on detached vectors watches. A killed run, called again with the
    same arguments, goes on where it last saved and ends with the weights of an undisturbed one; on a CPU with the same
    `threads` they are equal bit for bit. A finished run, called again, takes no step and writes the same files.

    Parameters
    ----------
    crop_paths : h5sc files; cells with split `train` are learned from, all cells where no cell has a split
    recipe : name in `subcell.model.objectives.recipes.RECIPES`, or a recipe
    size : `tiny`, `small`, `base`, or the numbers themselves
    out_checkpoint : safetensors file to write
    out_curves : parquet file to write: step, epoch, split, metric, value
    state_dir : folder in which the state of the run is kept, finished or not, and the encoders of the last validations
    out_reconstruction, out_reconstruction_errors : see `subcell.model.loop.reconstruction`; for recipes that reconstruct
    start : checkpoint whose encoder is trained further, see `subcell.model.loop.start`; None begins with random weights
    objective : changes to a named recipe, see `subcell.model.objectives.recipes.recipe_named`
    positives, spare : what makes cells positives of the protein-specific loss, and what keeps them from being negatives
    epochs, items_per_batch, cells_per_item, items_per_antibody : see `subcell.model.data.sampler.ItemSampler`; the defaults
        are the paper's
    learning_rate : for 256 cells a batch; it grows with the batch
    warmup_epochs : epochs of linear warm-up
    validate_every : epochs between looks at the validation cells; the last epoch is always followed by one
    clip : whether the norm of the watching classifier's gradients is cut `apart` or `together` with all others
    select : `last` weights, or the metric of validation whose best are written
    ema : decay of a running mean of the encoder's weights, which is then watched and written; 0 for none
    precision : `bf16` computes in bfloat16 where that is safe
    cells_per_pass : see `subcell.model.loop.gradients.compute_gradients`
    checkpoint_activations : compute activations of transformer blocks again instead of keeping them
    compile : compile encoder and decoder first
    seed : of weights, batches and augmentation
    device, threads : `cpu` or `cuda`; threads of a CPU, None leaves them. Where torchrun started several processes, each
        takes its part of every batch; see `subcell.model.running.processes`
    workers : processes that read crops ahead; 0 reads in this one, None has some beside a GPU
    checkpoints : encoders of validations that stay in `state_dir`
    tensorboard : folder for TensorBoard's event files
    log : called with a line now and then

    Raises
    ------
    ConfigError : unknown recipe or size, crops that are not a whole number of patches, no values to make positives of
    NothingLeftError : no training cell
    SubcellError : the loss is not a number any more, or the system asked to end (then the state is saved)
    """
    if threads:
        torch.set_num_threads(threads)
    log = log or (lambda line: None)
    taught = recipe_named(recipe, objective) if isinstance(recipe, str) else recipe
    numbers = size_named(size) if isinstance(size, str) else size
    store = CropStore(crop_paths)
    rows, watched = training_and_validation_rows(store.obs)
    sampler = ItemSampler(
        store.obs,
        rows,
        items_per_batch=items_per_batch,
        cells_per_item=cells_per_item,
        items_per_antibody=items_per_antibody,
        seed=seed,
    )
    if sampler.items_per_batch % processes():
        raise ConfigError(
            f"a batch has {sampler.items_per_batch} items, which {processes()} GPUs cannot share evenly; change "
            "`training.items_per_batch` or `gpus`"
        )
    settings = {
        "recipe": recipe if isinstance(recipe, str) else "",
        "size": size if isinstance(size, str) else "",
        "objective": asdict(taught),
        "positives": positives,
        "spare": spare,
        "epochs": epochs,
        "items_per_batch": sampler.items_per_batch,
        "cells_per_item": cells_per_item,
        "items_per_antibody": items_per_antibody,
        "learning_rate": learning_rate,
        "warmup_epochs": warmup_epochs,
        "validate_every": validate_every,
        "clip": clip,
        "select": select,
        "ema": ema,
        "precision": precision,
        "cells_per_pass": cells_per_pass,
        "seed": seed,
        "threads": torch.get_num_threads(),
    }
    classes = location_classes(store.obs.iloc[rows])
    network = Pretraining(
        recipe=taught,
        size=numbers,
        image_px=store.pixels,
        classes=len(classes),
        spares=spare != "none",
        seed=seed,
    )
    if start is not None:
        settings["start"] = start_from(network, start, size=numbers, um_per_px=store.um_per_px)
        log(f"starts from {start}")
    data = data_sha256(crop_paths)
    config = {**settings, **describe_training(store, rows, taught), "data_sha256": data}
    course = Course(
        store=store,
        sampler=sampler,
        schedule=Schedule(
            learning_rate,
            cells=sampler.items_per_batch * cells_per_item,
            warmup_steps=round(warmup_epochs * sampler.batches_per_epoch),
            steps=epochs * sampler.batches_per_epoch,
        ),
        epochs=epochs,
        validate_every=validate_every,
        watched=watched,
        classes=classes,
        workers=_workers(device) if workers is None else workers,
        views=taught.views,
        state_dir=state_dir,
        run=fingerprint({**settings, **asdict(numbers)}, list(store.obs.index[rows]), data),
        config=config,
        tensorboard=tensorboard,
    )
    if not rank():
        # Before the loop takes it to its device: it is counted with tensors that lie on none.
        for line in describe_step(network, course.cells // processes(), cells_per_pass, precision, steps=course.steps):
            log(line)
    loop = TrainingLoop(
        network,
        labels=CellLabels(
            store.obs,
            rows,
            classes=classes,
            positives=positives if taught.protein_specific else "none",
            spare=spare if taught.protein_specific else "none",
        ),
        cells_per_item=cells_per_item,
        seed=seed,
        device=device,
        precision=precision,
        clip=clip,
        ema=ema,
        cells_per_pass=cells_per_pass,
        checkpoint_activations=checkpoint_activations,
        compiled=compile,
    )
    kept = KeptEncoders(state_dir, select=select, last=checkpoints, size=numbers)
    curves = take_steps(loop, course, kept, log=log)
    if rank():
        return
    if out_reconstruction and out_reconstruction_errors and network.decoder is not None:
        write_reconstructions(
            network, store, watched if len(watched) else rows, out_reconstruction, out_reconstruction_errors, seed=seed
        )
    curves.write(out_curves)
    encoder, chosen = kept.chosen(loop.encoder)
    save_checkpoint(out_checkpoint, encoder, {**config, **chosen}, size=numbers)


def _workers(device: str) -> int:
    """Processes that read ahead: a processor computes too long to wait for its crops, a GPU does not."""
    return 0 if device == "cpu" else max(1, min(WORKERS_BESIDE_A_GPU, len(os.sched_getaffinity(0)) // processes() - 1))


def training_and_validation_rows(obs: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers of the cells to learn from and to watch; without any split all are learned from, none watched.

    Both in the order of their cell ids, so that training does not depend on how many shards the cells lie in.

    Raises
    ------
    NothingLeftError : there are splits, but no training cell
    """
    order = np.argsort(obs.index.to_numpy(object), kind="stable")
    if not obs["split"].notna().any():
        return order, np.zeros(0, np.int64)
    rows, valid = (order[(obs["split"] == split).to_numpy()[order]] for split in ("train", "valid"))
    if not len(rows):
        raise NothingLeftError(
            f"none of {len(obs)} cells has the split 'train'; look at `split` of the datasets in `train_on`"
        )
    return rows, valid


def describe_training(store: CropStore, rows: NDArray[np.int64], recipe: Recipe) -> Mapping[str, Any]:
    """What a checkpoint says about the images and cells that its network has learned from."""
    obs = store.obs.iloc[rows]

    def names(column: str) -> list[str]:
        return sorted(map(str, set(obs[column].dropna()))) if column in obs else []

    def digest(column: str) -> str:
        return hashlib.sha256("\n".join(names(column)).encode()).hexdigest()

    return {
        "in_channels": len(recipe.channels),
        "channels": list(recipe.channels),
        "image_px": store.pixels,
        "um_per_px": store.um_per_px,
        "positions": recipe.positions,
        "pooling": recipe.pooling,
        "scaling": recipe.scaling,
        # The intensity augmentations take landmark channels away, so the network knows what to do without one.
        "dropped_channels": recipe.loses_channels,
        "training_cells": len(rows),
        "antibodies_sha256": digest("antibody"),
        "genes_sha256": digest("gene"),
        # By name, so that whoever uses the weights elsewhere can tell what they have seen.
        "seen": {"antibody": names("antibody"), "gene": names("gene")},
    }
