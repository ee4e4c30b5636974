"""Adapt a segmentation model to a user's own labelled fields."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from subcell.catalog.planes import split_plane
from subcell.channels import CHANNELS
from subcell.errors import ImageError, SheetError
from subcell.imaging.read import read_label_image, read_plane
from subcell.segmentation.cellpose_model import load_cellpose
from subcell.segmentation.examples import Example, make_example
from subcell.segmentation.kinds import is_compact
from subcell.segmentation.network import INPUTS, load_networks, save_networks
from subcell.segmentation.scaling import normalise, resize_image, resize_labels
from subcell.segmentation.scoring import pooled, score_masks
from subcell.segmentation.segmenter import COMPACT_WEIGHTS, DYNAMICS_STEP, SEEN, Segmenter
from subcell.segmentation.training import train_network
from subcell.tables import write_table

REFERENCES = {"nuclei": "reference_nuclei", "cells": "reference_cells"}
CELLPOSE_RATE = 0.02
"""Cellpose's networks are fine-tuned at 1e-5 where ours take 5e-4."""

SCORE_COLUMNS = ("objects", "model", "fields", "true", "found", "ap50", "f1_50", "ap75")

Log = Callable[[str], None]


@dataclass(frozen=True)
class Labelled:
    """A labelled field: image (4, Y, X), which channels it has, label images by kind, and its pixel size."""

    field_id: str
    image: NDArray[np.integer]
    present: tuple[str, ...]
    labels: dict[str, NDArray[np.int32]]
    pixel_size_um: float


def fine_tune(
    out_weights: str | Path,
    out_scores: str | Path,
    *,
    sheet: str | Path | None,
    model: str = "compact",
    held_out: float = 0.2,
    steps: int = 400,
    learning_rate: float = 5e-4,
    seed: int = 1,
    batch: int = 8,
    crop_px: int = 192,
    working_um_per_px: float = 0.32,
    device: str = "cpu",
    log: Log = print,
) -> pd.DataFrame:
    """Train a model on labelled fields, and score it before and after on fields that were held out.

    Parameters
    ----------
    out_weights : weights to write; give their path as `segmentation.model`
    out_scores : table to write (tsv), `SCORE_COLUMNS`
    sheet : csv with field_id, pixel_size_um, paths of the channels, and `reference_nuclei` or `reference_cells`; a path may
        end in a plane, `file.ome.tif#c=0`
    model : "compact" or a .safetensors file: its network of each kind that has labels; else one of Cellpose's models,
        trained by Cellpose's own code
    held_out : share of fields for the score, at least one
    steps : of each compact network, or epochs of Cellpose's
    learning_rate : highest rate of a compact network; Cellpose's gets a fiftieth
    seed : of the held-out part and of training
    batch, crop_px : crops a step of a compact network, and their side
    working_um_per_px : pixel size at which the network works
    device : torch device
    log : called with one line at a time

    Raises
    ------
    SheetError : no sheet, fewer than two labelled fields, or columns that are missing
    """
    fields = read_labelled(sheet)
    order = np.random.default_rng(seed).permutation(len(fields))
    kept = max(1, round(held_out * len(fields)))
    held, trained = ([fields[n] for n in sorted(part)] for part in (order[:kept], order[kept:]))
    if not trained:
        raise SheetError(f"{sheet}: {len(fields)} labelled field(s) leave none to train on; give at least two")
    log(f"{len(trained)} fields to train on, {len(held)} held out: {', '.join(field.field_id for field in held)}")
    Path(out_weights).parent.mkdir(parents=True, exist_ok=True)
    if is_compact(model):
        networks, _ = load_networks(COMPACT_WEIGHTS if model == "compact" else model)
        for name in INPUTS:
            examples = [_example(field, name, working_um_per_px) for field in trained if name in field.labels]
            if examples:
                networks[name] = train_network(
                    networks[name],
                    [examples],
                    steps=steps,
                    seed=seed,
                    batch=batch,
                    crop_px=crop_px,
                    learning_rate=learning_rate,
                    device=device,
                    log=partial(_named, name, log),
                )
        save_networks(out_weights, networks, working_um_per_px=working_um_per_px, seed=seed, tuned_on=len(trained))
    else:
        _tune_cellpose(
            out_weights,
            trained,
            model=model,
            epochs=steps,
            learning_rate=CELLPOSE_RATE * learning_rate,
            um_per_px=working_um_per_px * DYNAMICS_STEP,
            seed=seed,
            device=device,
        )
    scores = pd.concat(
        [
            _scores(held, Segmenter(str(path), working_um_per_px=working_um_per_px, device=device), name)
            for name, path in (("before", model), ("after", out_weights))
        ]
    )
    write_table(scores, out_scores, float_format="%.4f")
    for row in scores.itertuples():
        log(f"{row.objects}, {row.model}: F1 at IoU 0.5 {row.f1_50:.3f}, {row.true} true, {row.found} found")
    return scores


def read_labelled(sheet: str | Path | None) -> list[Labelled]:
    """Read the labelled fields of a sheet; see `fine_tune`. All rows that cannot be used are reported together."""
    if sheet is None:
        raise SheetError("fine_tune.sheet names no sheet; give a csv of labelled fields")
    try:
        rows = pd.read_csv(sheet, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise SheetError(f"{sheet}: cannot read the sheet of labelled fields ({error})") from error
    missing = [name for name in ("field_id", "pixel_size_um", "nucleus") if name not in rows]
    if missing or not set(REFERENCES.values()) & set(rows.columns):
        lacking = ", ".join([*missing, *([] if set(REFERENCES.values()) & set(rows.columns) else ["reference_cells"])])
        raise SheetError(f"{sheet}: the sheet of labelled fields lacks the columns {lacking}")
    fields, problems = [], []
    for number, row in enumerate(rows.to_dict("records"), start=2):
        try:
            fields.append(_labelled(Path(sheet).parent, row))
        except (ImageError, ValueError) as problem:
            problems.append(f"row {number} ({row['field_id']}): {problem}")
    if problems:
        raise SheetError(f"{sheet}: " + "\n".join(problems))
    return fields


def _labelled(folder: Path, row: dict[str, str]) -> Labelled:
    def inside(text: str) -> tuple[Path, str]:
        name, plane = split_plane(text)
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ImageError(f"{name}: lies outside the sheet's folder")
        return path, plane

    um = float(row["pixel_size_um"])
    if not 0 < um < 10:
        raise ImageError(f"pixel_size_um is {row['pixel_size_um']!r}; it must be micrometres a pixel")
    planes = {channel: read_plane(*inside(row[channel])) for channel in CHANNELS if row.get(channel)}
    labels = {kind: read_label_image(*inside(row[column])) for kind, column in REFERENCES.items() if row.get(column)}
    shapes = {plane.shape for plane in [*planes.values(), *labels.values()]}
    if len(shapes) > 1:
        raise ImageError(f"images of different sizes: {sorted(shapes)}")
    if "nucleus" not in planes or not labels:
        raise ImageError("needs an image of the nucleus channel and a label image")
    nothing = np.zeros_like(planes["nucleus"])
    image = np.stack([planes.get(channel, nothing) for channel in CHANNELS])
    return Labelled(row["field_id"], image, tuple(planes), labels, um)


def _at_scale(field: Labelled, name: str, um_per_px: float) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """What the network of a kind sees of a field, not normalised, and its labels, at a pixel size."""
    height, width = (max(8, round(side * field.pixel_size_um / um_per_px)) for side in field.image.shape[1:])
    planes = field.image[[CHANNELS.index(channel) for channel in INPUTS[name]]]
    return resize_image(planes, (height, width)), resize_labels(field.labels[name], (height, width))


def _example(field: Labelled, name: str, um_per_px: float) -> Example:
    image, labels = _at_scale(field, name, um_per_px)
    return make_example(normalise(image), labels, zoom=DYNAMICS_STEP)


def _tune_cellpose(
    out_weights: str | Path,
    fields: list[Labelled],
    *,
    model: str,
    epochs: int,
    learning_rate: float,
    um_per_px: float,
    seed: int,
    device: str,
) -> None:
    """Cellpose's own training; its one network sees the pictures of nuclei and those of cells, as in segmentation.

    `seed` decides which layers are skipped; order and augmentation Cellpose seeds itself, by the number of the epoch.
    """
    from cellpose.train import train_seg

    network = load_cellpose(model, torch.device(device), bf16=False)
    images, labels = [], []
    for field in fields:
        for name in field.labels:
            image, truth = _at_scale(field, name, um_per_px)
            images.append(np.concatenate([image, np.zeros((len(SEEN) - len(image), *image.shape[1:]), np.float32)]))
            labels.append(truth)
    folder = tempfile.TemporaryDirectory(dir=Path(out_weights).parent, prefix=".tuning-")
    with folder, torch.random.fork_rng():
        torch.manual_seed(seed)
        written, *_ = train_seg(
            network,
            train_data=images,
            train_labels=labels,
            channel_axis=0,
            n_epochs=epochs,
            learning_rate=learning_rate,
            weight_decay=0.1,
            min_train_masks=1,
            save_path=folder.name,
            model_name="tuned",
        )
        shutil.move(str(written), out_weights)


def _scores(fields: list[Labelled], segmenter: Segmenter, model: str) -> pd.DataFrame:
    found = [segmenter.segment(field.image, field.present, field.pixel_size_um) for field in fields]
    rows = []
    for number, kind in enumerate(REFERENCES):
        pairs = [(f.labels[kind], masks[number]) for f, masks in zip(fields, found, strict=True) if kind in f.labels]
        if pairs:
            score = pooled(score_masks([truth for truth, _ in pairs], [masks for _, masks in pairs], (0.5, 0.75)))
            true, seen = (int(score["tp"][0] + score[other][0]) for other in ("fn", "fp"))
            rows.append((kind, model, len(pairs), true, seen, score["ap"][0], score["f1"][0], score["ap"][1]))
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def _named(name: str, log: Log, line: str) -> None:
    log(f"{name}: {line}")
