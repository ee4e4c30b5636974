"""The models that are compared on real cells, and the trainings among them. A part of hpa_fields.py and bbbc021.py.

All networks have the size, recipe and crops of the pretrained one. Trainings see the cells of the training side alone, in a
crop file of their own; the side that is scored is dealt by name, before any image is looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from subcell.benchmarks.inputs.halves import halves
from subcell.benchmarks.probes.frozen import Cells, read_cells, text_of
from subcell.channels import CHANNELS
from subcell.config.code import code_version, module_file
from subcell.crops.store import CropStore, write_h5sc
from subcell.embedding.kinds import build_embedder
from subcell.embedding.models import Embedder
from subcell.embedding.network import Inputs, NetworkEmbedder, SubcellNetwork
from subcell.embedding.run import embed_shard
from subcell.errors import CheckpointError
from subcell.hashing import sha256_of
from subcell.model.data.sampler import Positives
from subcell.model.loop.resume import data_sha256
from subcell.model.loop.training import train
from subcell.model.network.encoder import build_encoder
from subcell.model.network.inputs import Scaling
from subcell.model.network.sizes import Size
from subcell.model.objectives.recipes import Recipe
from subcell.model.weights.checkpoint import SCALE_TOLERANCE, load_encoder

UNTRAINED = "untrained, channel"
"""What all others are compared with in pairs."""

TRAINING: dict[str, Any] = {
    **{"epochs": 16, "items_per_batch": 16, "cells_per_item": 4, "warmup_epochs": 0.5, "validate_every": 16},
    **{"seed": 42, "threads": 1},
}
"""Set before any score was seen, the same for all. 16 epochs are about 160 steps of 64 cells here."""

SEED = 42


@dataclass(frozen=True)
class Pretrained:
    """The network that the others are built like.

    Attributes
    ----------
    path : its checkpoint
    recipe, size : what it was taught, how large it is
    learning_rate : of its training, and of all others
    words : which network it is, for people
    image_px, um_per_px : of the crops that it takes
    """

    path: Path
    recipe: Recipe
    size: Size
    learning_rate: float
    image_px: int
    um_per_px: float
    words: str

    @classmethod
    def read(cls, path: str | Path) -> Pretrained:
        """Read it from a checkpoint.

        Raises
        ------
        CheckpointError : missing, damaged, or trained by a version that did not write down its objective
        """
        _, config = load_encoder(path)
        if missing := [key for key in ("objective", "learning_rate", "um_per_px") if key not in config]:
            raise CheckpointError(f"{path}: does not say its {', '.join(missing)}; train it with this version")
        lists = {key: tuple(value) if isinstance(value, list) else value for key, value in config["objective"].items()}
        steps = f", {config['step']:,} steps" if config.get("step") else ""
        return cls(
            path=Path(path),
            recipe=Recipe(**lists),
            size=Size(**config["architecture"]),
            learning_rate=config["learning_rate"],
            image_px=config["image_px"],
            um_per_px=config["um_per_px"],
            words=f"`{Path(path).name}` (sha256 {sha256_of(path)[:12]}; recipe {config.get('recipe')}, "
            f"{config.get('training_cells', 0):,} cells{steps})",
        )


@dataclass(frozen=True)
class Fold:
    """Cells as one model of one fold sees them.

    Attributes
    ----------
    number : of the fold
    cells : all cells with their vectors
    held_out : (N,) those that are scored; the others are the training side
    """

    number: int
    cells: Cells
    held_out: NDArray[np.bool_]


def deal(names: pd.Series) -> NDArray[np.int_]:
    """Fold, 0 or 1, of each cell by the name of its field or compound."""
    dealt = halves(names.unique())
    return names.astype(str).map(dealt).to_numpy(int)


def compare(
    crops: Path,
    dealt: Callable[[pd.DataFrame], NDArray[np.int_]],
    pretrained: Pretrained,
    folder: Path,
    *,
    positives: Positives,
    items_per_antibody: int,
    trainings: bool = True,
    log: Callable[[str], None],
) -> Iterator[tuple[str, list[Fold]]]:
    """Vectors of every model, fold by fold.

    Trainings that were finished and vectors that were made are not made again while crops, settings and code are the same.

    Parameters
    ----------
    crops : all cells
    dealt : fold of each cell, -1 where it is on the training side of every fold
    folder : to write to
    positives, items_per_antibody : see `subcell.model.loop.training.train`
    trainings : whether networks are trained; without, only what learns nothing here is scored

    Yields
    ------
    model, folds : in the order of the tables

    Raises
    ------
    CheckpointError : the crops are not those that the pretrained network takes
    """
    store = CropStore(crops)
    if store.pixels != pretrained.image_px or abs(store.um_per_px / pretrained.um_per_px - 1) > SCALE_TOLERANCE:
        raise CheckpointError(
            f"{pretrained.path} takes crops of {pretrained.image_px} px at {pretrained.um_per_px:.3f} um, {crops} has "
            f"{store.pixels} px at {store.um_per_px:.3f} um; set `crops` of config/evidence.yaml to what the network takes"
        )
    folds = sorted(set(dealt(store.obs)) - {-1})

    torch.set_num_threads(TRAINING["threads"])

    def embedded(embedder: Embedder) -> Cells:
        path = folder / f"{embedder.name.replace(', ', '_').replace(' ', '_')}-{_content(crops, embedder)}.h5ad"
        if not path.is_file():
            log(f"{embedder.name}: embedding {len(store)} cells")
            embed_shard(crops, embedder, path)
        return read_cells(path)

    def of_fold(number: int, cells: Cells) -> Fold:
        return Fold(number, cells, dealt(cells.obs) == number)

    for name, embedder in _untaught(crops, pretrained).items():
        cells = embedded(embedder)
        yield name, [of_fold(number, cells) for number in folds]
    taught = {
        "recipe": pretrained.recipe,
        "size": pretrained.size,
        "learning_rate": pretrained.learning_rate,
        **TRAINING,
    }
    learns: dict[str, dict[str, Any]] = {
        "continued": {"start": pretrained.path},
        f"from nothing, {pretrained.recipe.scaling}": {},
        "from nothing, minmax": {"recipe": replace(pretrained.recipe, scaling="minmax")},
    }
    for name, settings in learns.items() if trainings else ():
        found = []
        for number in folds:
            log(f"{name}, fold {number}: training")
            place = folder / name.replace(", ", "_").replace(" ", "_") / str(number)
            checkpoint = place / "checkpoint.safetensors"
            train(
                [_training_side(store, dealt(store.obs) != number, folder / f"train_{number}.h5sc")],
                **taught | settings,
                positives=positives,
                items_per_antibody=items_per_antibody,
                out_checkpoint=checkpoint,
                out_curves=place / "training.parquet",
                state_dir=place / "state",
                log=log,
            )
            embedder = build_embedder(f"{name} {number}", {"kind": "subcell"}, crops=crops, checkpoint=checkpoint)
            found.append(of_fold(number, embedded(embedder)))
        yield name, found


def _content(crops: Path, embedder: Embedder) -> str:
    """What vectors depend on: pixels, model, code; 12 hexadecimal digits."""
    code = code_version(module_file(type(embedder).__module__))
    described = json.dumps([data_sha256([crops]), dict(embedder.description), code], sort_keys=True, default=str)
    return hashlib.sha256(described.encode()).hexdigest()[:12]


def _untaught(crops: Path, pretrained: Pretrained) -> Mapping[str, Embedder]:
    """Models that learn nothing from real cells."""
    return {
        "shortcuts": build_embedder("shortcuts", {"kind": "shortcuts"}, crops=crops),
        "handcrafted": build_embedder("handcrafted", {"kind": "handcrafted"}, crops=crops),
        "untrained, minmax": _untrained(pretrained, "minmax"),
        UNTRAINED: _untrained(pretrained, "channel"),
        "pretrained": build_embedder("pretrained", {"kind": "subcell"}, crops=crops, checkpoint=pretrained.path),
    }


def _untrained(pretrained: Pretrained, scaling: Scaling) -> NetworkEmbedder:
    """The same network with random weights; the size is that of the checkpoint, which need not have a name any more."""
    encoder = build_encoder(
        size=pretrained.size,
        in_channels=len(pretrained.recipe.channels),
        image_px=pretrained.image_px,
        positions=pretrained.recipe.positions,
        pooling=pretrained.recipe.pooling,
        seed=SEED,
    )
    description = {"kind": "random_vit", "checkpoint_sha256": "", "seed": SEED, "size": str(pretrained.size)}
    inputs = (Inputs(channels=pretrained.recipe.channels, scaling=scaling),)
    return NetworkEmbedder(f"untrained, {scaling}", SubcellNetwork(encoder), inputs=inputs, description=description)


def _training_side(store: CropStore, rows: NDArray[np.bool_], path: Path) -> Path:
    """A crop file of the training side alone, without splits: nothing else can be learned from."""
    obs = store.obs[rows].copy()
    obs["split"] = None
    write_h5sc(path, obs, store.read(np.flatnonzero(rows)), field_um=store.field_um)
    return path


def described(obs: pd.DataFrame, channels: tuple[str, ...] = CHANNELS) -> pd.DataFrame:
    """A table of cells from elsewhere with the columns that models read; unknown ones empty."""
    table = obs.copy()
    table["channels"] = ";".join(channels)
    for name in ("gene", "antibody", "compound", "locations", "split"):
        table[name] = text_of(table, name)
    for name in ("nucleus_area_um2", "cell_area_um2", "clipped_fraction"):
        table[name] = table.get(name, 0.0)
    if "cells_in_field" not in table:
        table["cells_in_field"] = table.groupby("field_id")["field_id"].transform("size").astype(int)
    return table
