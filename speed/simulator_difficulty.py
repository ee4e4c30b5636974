"""How hard a simulated world is: models that bracket it, scored on cells cut with the true masks. A part of simulator.py."""

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from subcell.benchmarks.probes.frozen import read_cells
from subcell.benchmarks.statistics.result import Result
from subcell.benchmarks.tasks.localization import label_table
from subcell.channels import CHANNELS
from subcell.config.check import resolve
from subcell.crops.run import crop_fields
from subcell.crops.store import CropStore
from subcell.embedding.kinds import build_embedder
from subcell.embedding.run import embed_shard
from subcell.embedding.store import create_vectors
from subcell.imaging.read import read_field, read_labels, read_ledger
from subcell.model.loop.training import train
from subcell.segmentation.masks import create_masks
from subcell.segmentation.measure import measure_cells
from subcell.segmentation.tables import CELLS_SCHEMA, write_table
from subcell.sources.simulate import design_fields, simulate_fields, write_truth
from subcell.sources.simulate.settings import Settings

BRACKETS = ("shortcuts", "random_vit", "trained", "handcrafted", "shuffled", "supervised", "perfect")
SCORING: dict[str, Any] = {"head_seeds": 3, "head_batch_size": 512, "bootstraps": 500, "min_test_antibodies": 3}
TRAINING: dict[str, Any] = {
    **{"recipe": "vit-prots-pool", "size": "tiny", "epochs": 16, "items_per_batch": 16, "cells_per_item": 4},
    **{"items_per_antibody": 8, "learning_rate": 0.004, "warmup_epochs": 0.5, "validate_every": 16},
}
"""How config.yaml trained its models when the simulator was frozen."""

SUPERVISED_EPOCHS = 24


def settings_of(dataset: str) -> dict[str, Any]:
    """Settings of a dataset of config.yaml, as the simulator takes them."""
    written = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text(encoding="utf-8"))
    block = resolve(written)["datasets"][dataset]
    return {field.name: block[field.name] for field in fields(Settings)}


DEMO = settings_of("demo")
DRUGS = settings_of("demo_drugs")
POSITIONS: dict[str, Any] = {
    **{"seed": 1, "layout": "perturbation", "cell_lines": 1, "fields_per_well": 4},
    **{"compounds": 4, "doses": 1, "negative_controls": 24},
}
"""Controls all over a plate, with many cells each; those of the demo lie in four wells."""

PLATES: dict[str, Any] = {
    **{"seed": 1, "cell_lines": 1, "genes": 340, "fields_per_well": 1},
    **{"field_px": 288, "cells_per_field": (4, 7)},
}
"""One line on four plates: on the demo, as in HPA, a plate is a line, and what differs between them is no plate's share."""

CHANCE = "at chance"
NO_LOWER = "no lower than on"


@dataclass(frozen=True)
class Planted:
    """How an effect is measured.

    Attributes
    ----------
    world : settings of the dataset in which it is planted
    benchmark : that measures it, or has to bear it
    metric : of that benchmark, which the effect moves
    off : what the metric is expected to be without the effect
    model : by whose vectors
    """

    world: Mapping[str, Any]
    benchmark: str
    metric: str
    off: str = CHANCE
    model: str = "handcrafted"


# A compound keeps its well on all plates, so that without the compounds their wells would still be found by their positions.
PLANTED = {
    "compounds": Planted(
        {**DRUGS, "effects": {**DRUGS["effects"], "positions": False}}, "perturbation", "compound_map"
    ),
    # An edge has fewer and larger cells, which shortcuts count, by far less than wells of a few cells differ.
    "positions": Planted(POSITIONS, "perturbation", "position_map", model="shortcuts"),
    "expression": Planted(DEMO, "transcriptome", "mantel_r"),
    "complexes": Planted(DEMO, "interactions", "cosine_auroc"),
    # With one pattern a location, the proteins of a complex are no more alike than others of their locations.
    "sub_patterns": Planted(DEMO, "interactions", "cosine_auroc"),
    "plates": Planted(PLATES, "batch", "plate_share", "an interval from 0"),
    "wrong_labels": Planted(DEMO, "localization", "macro_ap", NO_LOWER),
    "discordant_antibodies": Planted(DEMO, "localization", "macro_ap", NO_LOWER),
    "odd_cells": Planted(DEMO, "localization", "macro_ap", NO_LOWER),
}
"""Switch -> how it is measured. The last three are nuisances: labels and cells that a benchmark has to bear."""

Row = tuple[str, ...]


def score_world(settings: Mapping[str, Any], *, models: Sequence[str], benchmarks: Iterable[str]) -> Iterator[Result]:
    """Score models on one world.

    Parameters
    ----------
    settings : of `design_fields`
    models : of BRACKETS
    benchmarks : modules of `subcell.benchmarks.tasks`
    """
    benchmarks = list(benchmarks)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crops = cut_cells(dict(settings), folder)
        write_truth(folder / "truth", **settings)
        for model in models:
            cells = embed(model, crops, folder)
            for benchmark in benchmarks:
                yield import_module(f"subcell.benchmarks.tasks.{benchmark}").run(
                    cells,
                    out_json=folder / "score.json",
                    out_parquet=folder / "score.parquet",
                    truth=folder / "truth",
                    **{"dataset": "demo", "model": model, "simulated": True},
                    **SCORING,
                )


def row_of(result: Result, metric: str = "") -> Row:
    """Model, benchmark, metric, value, its interval and chance as text; of the headline where no metric is named."""
    found = next((one for one in result.metrics if metric in ("", one.metric)), None)
    if found is None:
        return (result.model, result.benchmark, metric, f"not given: {result.reason or 'this layout has none'}")
    numbers = (found.value, found.low, found.high, found.chance)
    return (result.model, result.benchmark, found.metric, *("" if n is None else f"{n:.3f}" for n in numbers))


def switched_off(effect: str) -> dict[str, Any]:
    """The world of an effect without it, all else as it was."""
    world = PLANTED[effect].world
    return {**world, "effects": {**world.get("effects", {}), effect: False}}


def score_switches(effects: Sequence[str]) -> Iterator[Row]:
    """What measures each effect, with its switch on and off. A world is drawn once for all effects.

    Yields
    ------
    effect, `on` or `off`, what is expected there, and what `row_of` gives
    """

    def alike(one: str, other: str) -> bool:
        first, second = PLANTED[one], PLANTED[other]
        return (first.world, first.model) == (second.world, second.model)

    for number, effect in enumerate(effects):
        if any(alike(earlier, effect) for earlier in effects[:number]):
            continue
        group, models = [other for other in effects if alike(other, effect)], [PLANTED[effect].model]
        tasks = dict.fromkeys(PLANTED[other].benchmark for other in group)
        on = {found.benchmark: found for found in score_world(PLANTED[effect].world, models=models, benchmarks=tasks)}
        for other in group:
            planted = PLANTED[other]
            yield (other, "on", "", *row_of(on[planted.benchmark], planted.metric))
            (off,) = score_world(switched_off(other), models=models, benchmarks=[planted.benchmark])
            yield (other, "off", planted.off, *row_of(off, planted.metric))


def cut_cells(settings: dict[str, Any], folder: Path) -> Path:
    """Simulate a dataset and cut its cells with the true masks; the crop file."""
    imaged = design_fields("demo", **settings)
    simulate_fields(imaged, folder / "images", **settings)
    ledger = read_ledger(folder / "images")
    rows: list[dict[str, Any]] = []
    with create_masks(folder / "masks.zarr") as masks:
        for field in imaged.to_dict("records"):
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
    crop_fields(folder / "images", folder / "masks.zarr", folder / "cells.parquet", imaged, crops)
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
