"""How a network is watched while it trains: locations from its vectors, and whether the vectors collapse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from subcell.crops.store import CropStore
from subcell.model.data.batches import read_batches
from subcell.model.loop.pretraining import Pretraining
from subcell.model.network.encoder import Encoder
from subcell.model.network.inputs import Inputs

MOST_CELLS = 4096
"""Vectors from which rank and spread are taken."""
CONTRASTIVE = ("cell_specific", "protein_specific")
PLATEAU = 0.98
"""Share of log(vectors - 1), the loss of vectors that tell nothing, from which on a loss counts as being at chance."""
LEAST_STD = 0.005
LEAST_RANK = 2.0
LEAST_VARIANCE_RANK = 1.5
"""Below these, vectors have collapsed; an untrained network is well above both."""


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
    encoder: Encoder | None = None,
    workers: int = 0,
    batch: int = 128,
) -> dict[str, float]:
    """Look at the masked, not augmented cells in these rows.

    Parameters
    ----------
    network : is in training mode before and after
    store, rows : the cells; none give no values
    classes : of the network's classifier; none to leave it out
    encoder : gives the vectors instead of the network's own
    workers : processes that read crops ahead
    batch : cells embedded at a time

    Returns
    -------
    `macro_ap`, `label_ranking_ap` where locations are known (see `score_locations`), `retrieval` where antibodies were
    imaged in several wells, and what `spread` gives
    """
    if not len(rows):
        return {}
    encoder = network.encoder if encoder is None else encoder
    network.eval()
    encoder.eval()
    inputs = Inputs(network.recipe.channels, scaling=network.recipe.scaling)
    batches = np.split(rows, range(batch, len(rows), batch))
    with read_batches(store, batches, workers=workers) as reading:
        vectors = torch.cat([encoder(inputs(crops.to(device))).vector for _, crops in reading])
    obs = store.obs.iloc[rows]
    locations, known = location_table(obs, classes)
    scores = score_locations(network, vectors, locations, known) if classes else {}
    found = retrieval(vectors.float().cpu().numpy(), obs)
    network.train()
    encoder.train()
    return scores | ({} if found is None else {"retrieval": found}) | spread(vectors)


def score_locations(
    network: Pretraining, vectors: torch.Tensor, locations: NDArray[np.float32], known: NDArray[np.bool_]
) -> dict[str, float]:
    """How well the network's classifier knows locations; nothing where that says nothing.

    Parameters
    ----------
    network : in evaluation mode
    vectors : (N, D)
    locations, known : see `location_table`

    Returns
    -------
    `macro_ap` : mean over classes that occur of the average precision
    `label_ranking_ap` : mean over cells of the label ranking average precision
    """
    occurring = (locations[known].sum(axis=0) > 0) & (locations[known].sum(axis=0) < known.sum())
    if network.classifier is None or not occurring.any():
        return {}
    scores = network.classifier(vectors[torch.from_numpy(known)]).float().cpu().numpy()
    true = locations[known]
    some = true.any(axis=1)
    return {
        "macro_ap": float(average_precision_score(true[:, occurring], scores[:, occurring], average="macro")),
        "label_ranking_ap": float(label_ranking_average_precision_score(true[some], scores[some])),
    }


def retrieval(vectors: NDArray[np.float32], obs: pd.DataFrame) -> float | None:
    """Mean average precision with which a well's mean vector finds other wells of its antibody, by cosine similarity.

    The mean vector of each cell line is subtracted first. No location is needed, so a checkpoint can be chosen by it.

    Parameters
    ----------
    vectors : (N, D)
    obs : (N, ...) table of the cells

    Returns
    -------
    None where no antibody has two wells
    """
    named = [column for column in ("antibody", "plate", "well") if column in obs]
    if named[:1] != ["antibody"] or "well" not in named:
        return None
    table = obs[named].astype(object).where(obs[named].notna(), "").reset_index(drop=True)
    table = table[table["antibody"] != ""]
    centred = vectors[table.index].astype(np.float64)
    if "cell_line" in obs:
        lines = obs["cell_line"].astype(str).to_numpy()[table.index]
        for line in np.unique(lines):
            centred[lines == line] -= centred[lines == line].mean(axis=0)
    wells = table.groupby(named, sort=True).ngroup().to_numpy()
    if not len(wells):
        return None
    first = np.unique(wells, return_index=True)[1]
    antibodies = table["antibody"].to_numpy()[first]
    profiles = np.zeros((len(first), centred.shape[1]))
    np.add.at(profiles, wells, centred)
    profiles /= np.linalg.norm(profiles, axis=1, keepdims=True).clip(min=1e-12)
    precisions = []
    for place, profile in enumerate(profiles):
        same = np.delete(antibodies == antibodies[place], place)
        if same.any():
            precisions.append(average_precision_score(same, np.delete(profiles @ profile, place)))
    return float(np.mean(precisions)) if precisions else None


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
        directions they use at all
    `variance_rank` : exp of the entropy of their squares, the variances: how many directions hold most of the spread
    `embedding_uniformity` : log of the mean over pairs of exp(-2 squared distance) of the vectors of length one (Wang &
        Isola 2020, arXiv 2005.10242, equation 4): 0 where all are the same, the lower the more evenly they lie
    """
    unit = torch.nn.functional.normalize(vectors[:MOST_CELLS].double(), dim=1)
    centred = unit - unit.mean(dim=0)
    values = torch.linalg.svdvals(centred)
    return {
        "embedding_std": float(centred.square().mean().sqrt() * unit.shape[1] ** 0.5),
        "embedding_rank": _effective_number(values),
        "variance_rank": _effective_number(values.square()),
        "embedding_uniformity": _uniformity(unit),
    }


def _effective_number(amounts: torch.Tensor) -> float:
    """How many equal amounts are as evenly spread as these: exp of the entropy of their shares."""
    share = amounts / amounts.sum().clamp(min=1e-12)
    return float((-(share * share.clamp(min=1e-12).log()).sum()).exp())


def _uniformity(unit: torch.Tensor) -> float:
    pairs = len(unit) * (len(unit) - 1)
    # |a - b|^2 = 2 - 2 ab; each vector's pair with itself gives 1.
    together = torch.stack([(4 * (rows @ unit.T - 1)).exp().sum() for rows in unit.split(512)]).sum() - len(unit)
    return float((together / max(1, pairs)).clamp(min=1e-12).log())


def plateau(losses: Mapping[str, float], vectors: int) -> str:
    """Which contrastive losses are no better than chance, in words; empty where none is.

    Parameters
    ----------
    losses : means of the terms since the last look
    vectors : that are compared in a batch, views times cells
    """
    chance = math.log(max(2, vectors - 1))
    flat = [f"{name} {losses[name]:.3f}" for name in CONTRASTIVE if losses.get(name, 0.0) >= PLATEAU * chance]
    return f"{' and '.join(flat)} within 2% of chance ({chance:.3f})" if flat else ""


def collapsed(values: Mapping[str, float]) -> str:
    """What is wrong with vectors whose `spread` these values are, in words; empty where nothing is."""
    if values.get("embedding_std", 1.0) < LEAST_STD:
        return f"all cells have nearly the same vector (spread {values['embedding_std']:.1e} of 1)"
    if values.get("embedding_rank", 1e9) < LEAST_RANK:
        return f"vectors use {values['embedding_rank']:.1f} directions only"
    if values.get("variance_rank", 1e9) < LEAST_VARIANCE_RANK:
        return f"nearly all that tells vectors apart lies in {values['variance_rank']:.1f} directions"
    return ""
