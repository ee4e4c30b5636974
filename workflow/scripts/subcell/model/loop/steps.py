"""All steps of a training: what is left of them, with looks at validation cells and saved states in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from subcell.crops.store import CropStore
from subcell.errors import SubcellError
from subcell.model.data.batches import RowsOfSteps, read_batches
from subcell.model.data.sampler import ItemSampler
from subcell.model.loop.curves import Curves
from subcell.model.loop.loop import TrainingLoop
from subcell.model.loop.optimisation import Schedule
from subcell.model.loop.resume import load_state, save_state
from subcell.model.loop.validation import collapsed, plateau, watch
from subcell.model.running.processes import any_process, processes, rank
from subcell.model.running.stopping import stop_requests
from subcell.model.weights.kept import KeptEncoders

SAVE_EVERY_S = 600.0
"""The state is saved after each epoch, and within an epoch that takes longer than this."""
SAY_EVERY_S = 20.0
UNLABELLED_WATCHED = 512
"""Training cells from which the spread of vectors is taken where no cells were set aside for validation."""


@dataclass(frozen=True)
class Course:
    """What a training goes through.

    Attributes
    ----------
    store, sampler, schedule : cells, batches and learning rate of each step
    epochs, validate_every : passes, and passes between validations
    watched : rows of the validation cells
    classes : locations that the classifier tells apart
    workers : processes that read ahead
    views : of a cell in a batch
    state_dir, run : where the state is kept, and the fingerprint of the run that it is of
    config : description of the run, kept with encoders
    tensorboard : folder for TensorBoard, or None
    """

    store: CropStore
    sampler: ItemSampler
    schedule: Schedule
    epochs: int
    validate_every: int
    watched: NDArray[np.int64]
    classes: Sequence[str]
    workers: int
    views: int
    state_dir: str | Path
    run: str
    config: Mapping[str, Any]
    tensorboard: str | Path | None

    @property
    def steps(self) -> int:
        """All steps."""
        return self.epochs * self.sampler.batches_per_epoch

    @property
    def cells(self) -> int:
        """Cells a step."""
        return self.sampler.items_per_batch * self.sampler.cells_per_item

    @property
    def vectors(self) -> int:
        """Vectors that are compared in a step."""
        return self.views * self.cells


def take_steps(loop: TrainingLoop, course: Course, kept: KeptEncoders, *, log: Callable[[str], None]) -> Curves:
    """Take all steps that are left.

    Returns
    -------
    curves of all steps, those of earlier runs included

    Raises
    ------
    SubcellError : the loss is no number, a process that reads was killed, or the system asked to end; then the state is saved
    """
    per_epoch = course.sampler.batches_per_epoch
    state = load_state(course.state_dir, course.run)
    first = state["step"] if state else 0
    if state:
        loop.restore(state)
        kept.best = state["best"] and tuple(state["best"])
    curves = Curves(
        state["curves"] if state else (),
        steps=course.steps,
        tensorboard=None if rank() else course.tensorboard,
        first=first,
    )
    if not rank():
        kept.prune(first)

    def save(done: int) -> None:
        rows = curves.rows()
        now = loop.state(ended=done == course.steps)
        save_state(
            course.state_dir, {"fingerprint": course.run, "step": done, "curves": rows, "best": kept.best, **now}
        )
        kept.prune(done)

    start = began = said = saved = time.monotonic()
    # An interrupt reaches each of several processes twice, by torchrun too.
    listening = stop_requests(interruptible=processes() == 1)
    rows_of_steps = RowsOfSteps(course.sampler, first, course.steps)
    reading = read_batches(course.store, rows_of_steps, workers=course.workers)
    own_gpu = [loop.device] if loop.device.type == "cuda" else []
    with (
        closing(curves),
        torch.random.fork_rng(own_gpu),
        _say_what_died(),
        listening as asked_to_stop,
        reading as batches,
    ):
        # Whoever is told that training has begun may ask it to end: by then every process listens.
        any_process(False, loop.device)
        log(f"step {first} of {course.steps}, {course.cells} cells a step, {per_epoch} steps an epoch")
        loop.network.train()
        for step, (rows, crops) in enumerate(batches, start=first):
            waited = time.monotonic() - began
            measured = loop.step(step, rows, crops, learning_rate=course.schedule.rate(step))
            now = time.monotonic()
            measured |= {
                "learning_rate": course.schedule.rate(step),
                "cells_per_s": course.cells / (now - began),
                "data_wait": waited / (now - began),
            }
            epoch, done = step // per_epoch + 1, step + 1
            curves.add(done, epoch, "train", measured)
            ends = done % per_epoch == 0
            stop = any_process(asked_to_stop(), loop.device) and done < course.steps
            if not rank():
                if ends and (epoch % course.validate_every == 0 or epoch == course.epochs):
                    values = _validate(loop, course, curves, done=done, epoch=epoch, log=log)
                    kept.take(done, loop.encoder, values, course.config)
                if now - said > SAY_EVERY_S:
                    said = now
                    left = (now - start) / (done - first) * (course.steps - done)
                    log(f"step {done} of {course.steps}: loss {measured['loss']:.3f}, {left:.0f} s left")
                if ends or stop or now - saved > SAVE_EVERY_S:
                    saved = now
                    save(done)
            if stop:
                raise SubcellError(f"asked to end; saved after step {done} of {course.steps}, run again to go on")
            began = time.monotonic()
    return curves


def _validate(
    loop: TrainingLoop, course: Course, curves: Curves, *, done: int, epoch: int, log: Callable[[str], None]
) -> dict[str, float]:
    """Watch the validation cells, or how far some training cells are spread where there are none."""
    rows, classes, split = course.watched, course.classes, "valid"
    if not len(rows):
        of_training = np.sort(next(course.sampler.epoch(0)))
        rows, classes, split = np.unique(of_training)[:UNLABELLED_WATCHED], (), "train"
    values = watch(
        loop.network, course.store, rows, classes, device=loop.device, encoder=loop.encoder, workers=course.workers
    )
    log(f"epoch {epoch}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
    flat = plateau(curves.means(since=done - course.validate_every * course.sampler.batches_per_epoch), course.vectors)
    if flat:
        log(
            f"PLATEAU after epoch {epoch}: {flat}; cells cannot be told apart yet. Train longer, raise "
            "`training.learning_rate`, or see `objective.scaling`"
        )
        values["plateau"] = 1.0
    problem = collapsed(values)
    if problem:
        log(
            f"COLLAPSED after epoch {epoch}: {problem}; lower `training.learning_rate`, lengthen `training.warmup_epochs` "
            "or enlarge the batch"
        )
        values["collapsed"] = 1.0
    curves.add(done, epoch, split, values)
    return values


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
