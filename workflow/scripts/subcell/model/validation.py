"""How a network is watched while it trains: locations from its vectors, and whether the vectors collapse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from subcell.crops.store import CropStore
from subcell.model.inputs import mask_and_scale
from subcell.model.pretraining import Pretraining

MOST_CELLS = 4096
"""Vectors from which rank and spread are taken."""


def location_table(obs: pd.DataFrame, classes: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Locations as numbers.

    Parameters
    ----------
    obs : (cells, ...) with a column `locations`, separated by semicolons; a missing one is not known
    classes : names of the columns; other names are left out

    Returns
    -------
    locations : (cells, classes) 0 or 1
    known : (cells,) whether the cell has a label
    """
    texts = obs["locations"] if "locations" in obs else pd.Series([None] * len(obs))
    known = texts.notna().to_numpy(bool)
    parts = [set(text.split(";")) if there else set() for text, there in zip(texts, known, strict=True)]
    table = np.array([[name in part for name in classes] for part in parts], dtype=np.float32)
    return table.reshape(len(obs), len(classes)), known


def location_classes(obs: pd.DataFrame) -> list[str]:
    """All names in the column `locations`, sorted."""
    if "locations" not in obs:
        return []
    return sorted({name for text in obs["locations"].dropna() for name in text.split(";") if name})


@torch.inference_mode()
def watch(
    network: Pretraining,
    store: CropStore,
    rows: NDArray[np.int64],
    classes: Sequence[str],
    *,
    device: torch.device | str,
    batch: int = 128,
) -> dict[str, float]:
    """Look at the masked, not augmented cells in these rows.

    Parameters
    ----------
    network : is in training mode before and after
    store, rows : the cells; none give no values
    classes : of the network's classifier
    batch : cells embedded at a time

    Returns
    -------
    `macro_ap` where locations are known (see `score_locations`), and what `spread` gives
    """
    if not len(rows):
        return {}
    network.eval()
    vectors = torch.cat([network.encoder(_inputs(crops, device)).vector for crops in _read(store, rows, batch)])
    locations, known = location_table(store.obs.iloc[rows], classes)
    score = score_locations(network, vectors, locations, known)
    network.train()
    return ({} if score is None else {"macro_ap": score}) | spread(vectors)


def _read(store: CropStore, rows: NDArray[np.int64], batch: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(rows), batch):
        yield torch.from_numpy(store.read(rows[start : start + batch]).astype(np.float32))


def _inputs(crops: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    crops = crops.to(device)
    return mask_and_scale(crops[:, 2:], crops[:, 1])


def score_locations(
    network: Pretraining, vectors: torch.Tensor, locations: NDArray[np.float32], known: NDArray[np.bool_]
) -> float | None:
    """Macro average precision of the watching classifier over classes that occur; None where that says nothing.

    Parameters
    ----------
    network : in evaluation mode
    vectors : (N, D)
    locations, known : see `location_table`
    """
    occurring = (locations[known].sum(axis=0) > 0) & (locations[known].sum(axis=0) < known.sum())
    if network.classifier is None or not occurring.any():
        return None
    scores = network.classifier(vectors[torch.from_numpy(known)]).float().cpu().numpy()
    return float(average_precision_score(locations[known][:, occurring], scores[:, occurring], average="macro"))


def spread(vectors: torch.Tensor) -> dict[str, float]:
    """Whether vectors still differ.

    Parameters
    ----------
    vectors : (N, D)

    Returns
    -------
    `embedding_std` : mean deviation of a number of the vectors of length one, times sqrt(D): 1 where they lie all
        around, 0 where they have collapsed into a point
    `embedding_rank` : exp of the entropy of the singular values of the centred vectors (Roy & Vetterli 2007): how many
        directions they use
    """
    unit = torch.nn.functional.normalize(vectors[:MOST_CELLS].double(), dim=1)
    centred = unit - unit.mean(dim=0)
    values = torch.linalg.svdvals(centred)
    share = values / values.sum().clamp(min=1e-12)
    entropy = -(share * share.clamp(min=1e-12).log()).sum()
    return {
        "embedding_std": float(centred.square().mean().sqrt() * unit.shape[1] ** 0.5),
        "embedding_rank": float(entropy.exp()),
    }
