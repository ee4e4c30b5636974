"""Train a SubCell network."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from subcell.channels import CHANNELS
from subcell.crops.store import CropStore
from subcell.errors import ConfigError, NothingLeftError, SubcellError
from subcell.model.batches import read_batches
from subcell.model.checkpoint import save_checkpoint
from subcell.model.loop import CellLabels, TrainingLoop
from subcell.model.optimisation import Schedule
from subcell.model.pretraining import Pretraining
from subcell.model.processes import processes, rank
from subcell.model.recipes import Recipe, recipe_named
from subcell.model.resume import fingerprint, forget_state, load_state, save_state
from subcell.model.sampler import ItemSampler, Positives
from subcell.model.sizes import Size, size_named
from subcell.model.validation import location_classes, watch

SAVE_EVERY_S = 600.0
"""The state is saved after each epoch, and within an epoch that takes longer than this."""
SAY_EVERY_S = 20.0

Curve = tuple[int, int, str, str, float]


def train(
    crop_paths: Sequence[str | Path],
    *,
    recipe: str | Recipe,
    size: str | Size,
    out_checkpoint: str | Path,
    out_curves: str | Path,
    state_dir: str | Path,
    positives: Positives = "antibody",
    epochs: int = 300,
    items_per_batch: int = 112,
    cells_per_item: int = 8,
    items_per_antibody: int = 4,
    learning_rate: float = 1e-4,
    warmup_epochs: float = 5,
    validate_every: int = 10,
    precision: Literal["32", "bf16"] = "32",
    seed: int = 42,
    device: str = "cpu",
    threads: int | None = None,
    workers: int = 0,
    log: Callable[[str], None] | None = None,
) -> None:
    """Train a network on the training cells of some crop files, and write its encoder and curves.

    Labels of locations teach the encoder nothing: a classifier on detached vectors watches. The weights written are
    those after the last epoch. A killed run, called again with the same arguments, goes on where it last saved and
    ends with the weights of an undisturbed one; on a CPU with the same `threads` they are equal bit for bit.

    Parameters
    ----------
    crop_paths : h5sc files; cells with split `train` are learned from, all cells where no cell has a split
    recipe : name in `subcell.model.recipes.RECIPES`, or a recipe
    size : `tiny`, `small`, `base`, or the numbers themselves
    out_checkpoint : safetensors file to write
    out_curves : parquet file to write: step, epoch, split, metric, value
    state_dir : folder in which the state of an unfinished run is kept
    positives : what makes cells positives of the protein-specific loss
    epochs, items_per_batch, cells_per_item, items_per_antibody : see `subcell.model.sampler.ItemSampler`; the defaults
        are the paper's
    learning_rate : for 256 cells a batch; it grows with the batch
    warmup_epochs : epochs of linear warm-up
    validate_every : epochs between looks at the validation cells; the last epoch is always followed by one
    precision : `bf16` computes in bfloat16 where that is safe
    seed : of weights, batches and augmentation
    device, threads : `cpu` or `cuda`; threads of a CPU, None leaves them. Where torchrun started several processes, each
        takes its part of every batch; see `subcell.model.processes`
    workers : processes that read crops ahead; 0 reads in this one
    log : called with a line now and then

    Raises
    ------
    ConfigError : unknown recipe or size, crops that are not a whole number of patches, no values to make positives of
    NothingLeftError : no training cell
    SubcellError : the loss is not a number any more
    """
    if threads:
        torch.set_num_threads(threads)
    objective = recipe_named(recipe) if isinstance(recipe, str) else recipe
    numbers = size_named(size) if isinstance(size, str) else size
    store = CropStore(crop_paths)
    rows, watched_rows = training_and_validation_rows(store.obs)
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
        "objective": asdict(objective),
        "positives": positives,
        "epochs": epochs,
        "items_per_batch": sampler.items_per_batch,
        "cells_per_item": cells_per_item,
        "items_per_antibody": items_per_antibody,
        "learning_rate": learning_rate,
        "warmup_epochs": warmup_epochs,
        "precision": precision,
        "seed": seed,
        "threads": torch.get_num_threads(),
    }
    classes = location_classes(store.obs.iloc[rows])
    loop = TrainingLoop(
        Pretraining(
            recipe=objective,
            size=numbers,
            in_channels=len(CHANNELS),
            image_px=store.pixels,
            classes=len(classes),
            seed=seed,
        ),
        labels=CellLabels(
            store.obs, rows, classes=classes, positives=positives if objective.protein_specific else "none"
        ),
        cells_per_item=cells_per_item,
        seed=seed,
        device=device,
        precision=precision,
    )
    curves = _run(
        loop,
        store,
        sampler,
        epochs=epochs,
        learning_rate=learning_rate,
        warmup_epochs=warmup_epochs,
        validate_every=validate_every,
        watched_rows=watched_rows,
        classes=classes,
        workers=workers,
        state_dir=state_dir,
        run=fingerprint({**settings, **asdict(numbers), "validate_every": validate_every}, list(store.obs.index[rows])),
        log=log or (lambda line: None),
    )
    if rank():
        return
    _write_curves(out_curves, curves)
    save_checkpoint(
        out_checkpoint,
        loop.network.encoder,
        {**settings, **describe_training(store, rows, objective)},
        size=numbers,
    )
    forget_state(state_dir)


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


def _run(
    loop: TrainingLoop,
    store: CropStore,
    sampler: ItemSampler,
    *,
    epochs: int,
    learning_rate: float,
    warmup_epochs: float,
    validate_every: int,
    watched_rows: NDArray[np.int64],
    classes: Sequence[str],
    workers: int,
    state_dir: str | Path,
    run: str,
    log: Callable[[str], None],
) -> list[Curve]:
    """Take all steps that are left, and return the curves of all steps."""
    per_epoch = sampler.batches_per_epoch
    steps = epochs * per_epoch
    cells = sampler.items_per_batch * sampler.cells_per_item
    schedule = Schedule(learning_rate, cells=cells, warmup_steps=round(warmup_epochs * per_epoch), steps=steps)
    first, curves = 0, []
    state = load_state(state_dir, run)
    if state is not None:
        loop.restore(state)
        first, curves = state["step"], [tuple(row) for row in state["curves"]]
    log(f"step {first} of {steps}, {cells} cells a step, {per_epoch} steps an epoch")
    start = began = said = saved = time.monotonic()
    with torch.random.fork_rng(), _say_what_died():
        loop.network.train()
        batches = read_batches(store, sampler, first=first, steps=steps, workers=workers)
        for step, (rows, crops) in enumerate(batches, start=first):
            measured = loop.step(step, rows, crops, learning_rate=schedule.rate(step))
            now = time.monotonic()
            measured |= {"learning_rate": schedule.rate(step), "cells_per_s": cells / (now - began)}
            epoch, done = step // per_epoch + 1, step + 1
            curves += [(done, epoch, "train", name, value) for name, value in measured.items()]
            if rank():
                continue
            if done % per_epoch == 0 and (epoch % validate_every == 0 or epoch == epochs):
                values = watch(loop.network, store, watched_rows, classes, device=loop.device)
                curves += [(done, epoch, "valid", name, value) for name, value in values.items()]
                log(f"epoch {epoch}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
            if now - said > SAY_EVERY_S:
                said = now
                left = (now - start) / (done - first) * (steps - done)
                log(f"step {done} of {steps}: loss {measured['loss']:.3f}, {left:.0f} s left")
            if done % per_epoch == 0 or now - saved > SAVE_EVERY_S:
                saved = now
                save_state(state_dir, {"fingerprint": run, "step": done, "curves": curves, **loop.state()})
            began = time.monotonic()
    return curves


@contextmanager
def _say_what_died() -> Iterator[None]:
    """Turn the death of a process that reads crops, which torch raises wherever this one is, into one clear line."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise SubcellError(
            f"a process that reads crops ahead was killed, often because memory ran out ({error}); "
            "run again: training goes on where it last saved"
        ) from error


def describe_training(store: CropStore, rows: NDArray[np.int64], recipe: Recipe) -> Mapping[str, Any]:
    """What a checkpoint says about the images and cells that its network has learned from."""
    obs = store.obs.iloc[rows]

    def digest(column: str) -> str:
        names = sorted(set(obs[column].dropna())) if column in obs else []
        return hashlib.sha256("\n".join(names).encode()).hexdigest()

    return {
        "in_channels": len(CHANNELS),
        "channels": list(CHANNELS),
        "image_px": store.pixels,
        "um_per_px": store.um_per_px,
        "positions": recipe.positions,
        "pooling": recipe.pooling,
        # The intensity augmentations take landmark channels away, so the network knows what to do without one.
        "dropped_channels": any(recipe.intensity[: recipe.views]),
        "training_cells": len(rows),
        "antibodies_sha256": digest("antibody"),
        "genes_sha256": digest("gene"),
    }


def _write_curves(path: str | Path, curves: Sequence[Curve]) -> None:
    table = pd.DataFrame(curves, columns=["step", "epoch", "split", "metric", "value"])
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    table.to_parquet(partial, index=False)
    os.replace(partial, path)
