"""How hard a simulated world is: models that bracket it, scored on cells cut with the true masks. A part of simulator.py."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from subcell.benchmarks.frozen import read_cells
from subcell.benchmarks.localization import label_table
from subcell.channels import CHANNELS
from subcell.crops.run import crop_fields
from subcell.crops.store import CropStore
from subcell.embedding.models import build_embedder
from subcell.embedding.run import embed_shard
from subcell.embedding.store import create_vectors
from subcell.imaging.read import read_field, read_labels, read_ledger
from subcell.model.training import train
from subcell.segmentation.masks import create_masks
from subcell.segmentation.measure import measure_cells
from subcell.segmentation.tables import CELLS_SCHEMA, write_table
from subcell.sources.simulate import design_fields, simulate_fields, write_truth

BRACKETS = ("shortcuts", "random_vit", "trained", "handcrafted", "shuffled", "supervised", "perfect")
SCORING: dict[str, Any] = {"head_seeds": 3, "head_batch_size": 512, "bootstraps": 500, "min_test_antibodies": 3}
TRAINING: dict[str, Any] = {
    **{"recipe": "vit-prots-pool", "size": "tiny", "epochs": 16, "items_per_batch": 16, "cells_per_item": 4},
    **{"items_per_antibody": 8, "learning_rate": 0.004, "warmup_epochs": 0.5, "validate_every": 16},
}
"""How config.yaml trained its models when the simulator was frozen."""

SUPERVISED_EPOCHS = 24

DEMO: dict[str, Any] = {"seed": 1}
DRUGS: dict[str, Any] = {
    **{"seed": 1, "layout": "perturbation", "cell_lines": 1, "fields_per_well": 1},
    **{"field_px": 288, "cells_per_field": (4, 7)},
}
PLANTED = {
    "compounds": (DRUGS, "perturbation"),
    "positions": (DRUGS, "perturbation"),
    "expression": (DEMO, "transcriptome"),
    "complexes": (DEMO, "interactions"),
    "plates": (DEMO, "batch"),
    "sub_patterns": (DEMO, "localization"),
    "wrong_labels": (DEMO, "localization"),
    "discordant_antibodies": (DEMO, "localization"),
    "odd_cells": (DEMO, "localization"),
}
"""Switch -> the dataset in which it is planted, and the benchmark that measures it or has to bear it."""

Row = tuple[str, ...]


def score_world(settings: dict[str, Any], *, models: Sequence[str], benchmarks: Sequence[str]) -> Iterator[Row]:
    """Score models on one world.

    Parameters
    ----------
    settings : of `design_fields`
    models : of BRACKETS
    benchmarks : modules of `subcell.benchmarks`

    Yields
    ------
    model, benchmark, metric, value, its interval, chance: of each benchmark the headline
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crops = cut_cells(settings, folder)
        write_truth(folder / "truth", **settings)
        for model in models:
            cells = embed(model, crops, folder)
            for benchmark in benchmarks:
                found = import_module(f"subcell.benchmarks.{benchmark}").run(
                    cells,
                    out_json=folder / "score.json",
                    out_parquet=folder / "score.parquet",
                    truth=folder / "truth",
                    **{"dataset": "demo", "model": model, "simulated": True},
                    **SCORING,
                )
                for metric in found.metrics[:1]:
                    numbers = (metric.value, metric.low, metric.high, metric.chance)
                    text = ("" if number is None else f"{number:.3f}" for number in numbers)
                    yield (model, benchmark, metric.metric, *text)
                if found.reason:
                    yield (model, benchmark, f"not run: {found.reason}")


def score_switches(effects: Sequence[str]) -> Iterator[Row]:
    """The headline of the benchmark of each effect, by handcrafted features, with its switch on and off.

    Yields
    ------
    effect, `on` or `off`, and what `score_world` yields
    """
    for effect in effects:
        settings, benchmark = PLANTED[effect]
        for state, switched in (("on", {}), ("off", {"effects": {effect: False}})):
            for row in score_world({**settings, **switched}, models=["handcrafted"], benchmarks=[benchmark]):
                yield (effect, state, *row)


def cut_cells(settings: dict[str, Any], folder: Path) -> Path:
    """Simulate a dataset and cut its cells with the true masks; the crop file."""
    fields = design_fields("demo", **settings)
    simulate_fields(fields, folder / "images", **settings)
    ledger = read_ledger(folder / "images")
    rows: list[dict[str, Any]] = []
    with create_masks(folder / "masks.zarr") as masks:
        for field in fields.to_dict("records"):
            name, pixel_um = field["field_id"], field["pixel_size_um"]
            image, present = read_field(folder / "images", ledger, name)
            nuclei, cells = (
                read_labels(folder / "images", ledger, name, f"reference_{kind}") for kind in ("nuclei", "cells")
            )
            assert nuclei is not None
            assert cells is not None
            masks.append(name, nuclei, cells, pixel_size_um=pixel_um)
            rows += measure_cells(image, nuclei, cells, field_id=name, present=present, pixel_size_um=pixel_um)
    write_table(rows, CELLS_SCHEMA, folder / "cells.parquet")
    crops = folder / "crops.h5sc"
    crop_fields(folder / "images", folder / "masks.zarr", folder / "cells.parquet", fields, crops)
    return crops


def embed(model: str, crops: Path, folder: Path) -> Path:
    """Vectors of all cells by one of the models that bracket the task."""
    path = folder / f"{model}.h5ad"
    if model in ("shortcuts", "handcrafted", "random_vit"):
        settings = {"kind": model, "size": "tiny", "seed": 42, "precision": "auto", "attention": False}
        embed_shard(crops, build_embedder(model, settings, crops=crops), path)
        return path
    if model == "trained":
        weights = folder / "trained.safetensors"
        curves, state = folder / "curves.parquet", folder / "state"
        train([crops], **TRAINING, out_checkpoint=weights, out_curves=curves, state_dir=state, threads=1)
        settings = {"kind": "subcell", "precision": "auto", "attention": False}
        embed_shard(crops, build_embedder(model, settings, crops=crops, checkpoint=weights), path)
        return path
    store = CropStore(crops)
    order = np.argsort(store.obs.index.to_numpy(object), kind="stable")
    obs = store.obs.iloc[order]
    if model == "shuffled":
        vectors = read_cells(embed("handcrafted", crops, folder)).features
        obs = obs.assign(locations=_of_other_genes(obs))
    elif model == "perfect":
        vectors = label_table(obs["locations"].fillna("")).to_numpy(np.float32)
    else:
        vectors = supervise(store.read(order), obs)
    names = [f"{model}_{number}" for number in range(vectors.shape[1])]
    with create_vectors(path, obs, features=names, uns={"model": model}) as file:
        file.write("X", 0, vectors)
    return path


def _of_other_genes(obs: pd.DataFrame) -> pd.Series:
    """Locations as they would be if genes had swapped their labels at random, each side among its own."""
    swapped: dict[str, str | None] = {}
    rng = np.random.default_rng(0)
    for _, part in obs.groupby("split"):
        of_genes = part.dropna(subset="locations").groupby("gene")["locations"].first()
        swapped |= dict(zip(of_genes.index, rng.permutation(of_genes.to_numpy()), strict=True))
    return obs["gene"].map(swapped)


def supervise(images: np.ndarray, obs: pd.DataFrame, *, seed: int = 0) -> np.ndarray:
    """Vectors by a small convolutional network that learned the locations of the training cells.

    Parameters
    ----------
    images : (N, 6, pixels, pixels) masks and channels
    obs : table of the cells

    Returns
    -------
    (N, 64) float32
    """
    torch.manual_seed(seed)
    inside = images[:, 1:2] > 0
    planes = images[:, 2:].astype(np.float32) * inside
    planes /= np.maximum(planes.max(axis=(2, 3), keepdims=True), 1)
    pixels = torch.from_numpy(np.concatenate([planes, inside.astype(np.float32)], axis=1))
    truth = label_table(obs["locations"].fillna(""))
    targets = torch.from_numpy(truth.to_numpy(np.float32))
    learned = np.flatnonzero((obs["split"] == "train") & obs["locations"].notna())
    widths = (len(CHANNELS) + 1, 24, 32, 48, 64)
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in itertools.pairwise(widths)
    ]
    body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Sequential(nn.Dropout(0.3), nn.Linear(widths[-1], targets.shape[1]))
    parameters = [*body.parameters(), *head.parameters()]
    steps = SUPERVISED_EPOCHS * -(-len(learned) // 64)
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    rng = np.random.default_rng(seed)
    for _ in range(SUPERVISED_EPOCHS):
        for batch in np.array_split(rng.permutation(learned), -(-len(learned) // 64)):
            shown = torch.rot90(pixels[batch], int(rng.integers(4)), (2, 3))
            shown = shown.flip(2) if rng.random() < 0.5 else shown
            loss = nn.functional.binary_cross_entropy_with_logits(head(body(shown)), targets[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    body.eval()
    with torch.inference_mode():
        return np.concatenate([body(part).numpy() for part in pixels.split(256)])
