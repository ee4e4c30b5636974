"""Real fields of the Human Protein Atlas: does a field find its other half, do locations find each other, can they be read?

    PYTHONPATH=workflow/scripts .venv/bin/python evidence/hpa_fields.py

Takes the crops that config/evidence.yaml makes. Most fields have no known gene, so a field stands for its antibody, in
training (cells of a field are positives) and in scores. Fields are dealt to two folds by a hash of their names; networks
train on one and are scored on the other, in turn. Three tasks, all on held-out fields:

- halves: the mean vector of the left half of a field's cells ranks the right halves of all held-out fields, and the other
  way round; a field's score is the mean of 1 / rank;
- same location: a field ranks the other held-out fields; right are those that share a location (average precision);
- locations: ridge regression from cells of the training side to locations, one penalty for all models; what it says of a
  held-out field is the mean over its cells; macro AP over locations of at least `MIN_FIELDS` fields.

Vectors are standardised on the cells of the training side.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from models import UNTRAINED, Fold, Pretrained, compare, deal, described
from numpy.typing import NDArray
from scores import BOOTSTRAPS, SEED, Scored, tidy

from subcell.benchmarks.inputs.labels import label_table
from subcell.benchmarks.probes.frozen import group_means
from subcell.benchmarks.probes.mlp import standardise
from subcell.benchmarks.probes.probes import linear_probe
from subcell.benchmarks.statistics.bootstrap import bootstrap_mean, bootstrap_metric
from subcell.benchmarks.statistics.metrics import chance_of, class_ap, expected_ap, macro_ap
from subcell.benchmarks.tasks.retrieval import Queries, average_precisions, cosines, expected_precision
from subcell.crops.store import CropStore, write_h5sc
from subcell.names import names_in

NAME = "hpa_fields"
MIN_FIELDS = 6
"""Fields that a location needs to be scored."""
PENALTY = 100.0
ITEMS_PER_FIELD = 4


def run(
    crops: Path, pretrained: Pretrained, folder: Path, *, trainings: bool = True, log: Callable = print
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Score all models.

    Parameters
    ----------
    crops : crop file of the fields
    folder : to write to
    trainings : see `models.compare`

    Returns
    -------
    table : columns `scores.COLUMNS`
    counted : cells, fields and locations behind it
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = _with_antibodies(crops, folder / "cells.h5sc")
    tasks: dict[str, dict[str, Scored]] = {"halves": {}, "same location": {}, "locations": {}}
    dealt = deal_fields
    for model, folds in compare(
        own,
        dealt,
        pretrained,
        folder,
        positives="antibody",
        items_per_antibody=ITEMS_PER_FIELD,
        trainings=trainings,
        log=log,
    ):
        seeds = int(model.startswith(("continued", "from nothing")))
        for task, score in ((tasks["halves"], across_halves), (tasks["same location"], same_location)):
            task[model] = _mean_over_fields([score(fold) for fold in folds], seeds)
        tasks["locations"][model] = read_locations(folds, seeds)
        log(f"{model}: " + ", ".join(f"{name} {scored[model].estimate.value:.3f}" for name, scored in tasks.items()))
    metrics = {"halves": "mean reciprocal rank", "same location": "mAP", "locations": "macro AP"}
    parts = [tidy(NAME, task, metrics[task], "field", scored, UNTRAINED) for task, scored in tasks.items()]
    obs = CropStore(own).obs
    counted = {"cells": len(obs), "fields": obs["field_id"].nunique(), "locations": len(scored_locations(obs))}
    return pd.concat(parts, ignore_index=True), counted


def deal_fields(obs: pd.DataFrame) -> NDArray[np.int_]:
    """Fold of each cell."""
    return deal(obs["field_id"])


def across_halves(fold: Fold) -> pd.DataFrame:
    """How well held-out fields are found by their other half.

    Returns
    -------
    index field_id, sorted; `score` and `chance`; fields of one cell are left out
    """
    obs, vectors = _held_out(fold)
    right = halves_of_fields(obs)
    whole = [name for name, sides in right.groupby(obs["field_id"]) if sides.nunique() == 2]
    chosen = obs["field_id"].isin(whole).to_numpy()
    names, codes = np.unique(obs["field_id"][chosen].astype(str), return_inverse=True)
    side = right[chosen].to_numpy(int)
    profiles = group_means(vectors[chosen], codes + len(names) * side, 2 * len(names))
    numbers = np.arange(len(names))
    query = np.concatenate([numbers, numbers + len(names)])
    answer = np.concatenate([numbers + len(names), numbers])
    rivals = np.array([[row for row in answer[: len(names)] if row != right] for right in answer[: len(names)]])
    rivals = np.concatenate([rivals, rivals - len(names)])
    asked = Queries(query, answer, rivals, names[query % len(names)])
    found = pd.DataFrame({"score": average_precisions(cosines(profiles), asked)})
    found["chance"] = expected_precision(asked.candidates)
    return found.groupby(asked.unit).mean()


def halves_of_fields(obs: pd.DataFrame) -> pd.Series:
    """Whether a cell lies in the right half of its field's cells: they differ in place, not in staining."""
    place = obs["centroid_x_px"].astype(float)
    return place.groupby(obs["field_id"]).rank(method="first", pct=True) > 0.5


def same_location(fold: Fold) -> pd.DataFrame:
    """How well held-out fields find those that share a location.

    Returns
    -------
    index field_id, sorted; `score` and `chance`; NaN where no other field shares one, or all do
    """
    obs, vectors = _held_out(fold)
    names, codes = np.unique(obs["field_id"].astype(str), return_inverse=True)
    similarity = cosines(group_means(vectors, codes, len(names)))
    of_field = obs.groupby(obs["field_id"].astype(str))["locations"].first().reindex(names)
    sets = [frozenset(names_in(text)) for text in of_field]
    rows = []
    for one in range(len(names)):
        others = np.flatnonzero(np.arange(len(names)) != one)
        shares = np.array([bool(sets[one] & sets[other]) for other in others])
        row = {"score": np.nan, "chance": np.nan}
        if shares.any() and not shares.all():
            precision = class_ap(shares[:, None], similarity[one, others][:, None], np.ones((1, len(others))))
            row = {"score": float(precision[0, 0]), "chance": float(expected_ap(shares.sum(), len(others)))}
        rows.append(row)
    return pd.DataFrame(rows, index=names)


def read_locations(folds: list[Fold], seeds: int) -> Scored:
    """Macro AP of locations of held-out fields, each by a regression on the other fold."""
    said = []
    for fold in folds:
        obs, held = fold.cells.obs, fold.held_out
        classes = scored_locations(obs)
        truth = label_table(obs["locations"])[classes].to_numpy(bool)
        features = standardise(fold.cells.features, ~held)
        none = np.zeros(len(obs), bool)
        scores = linear_probe(features, truth, train=~held, valid=none, test=held, penalties=(PENALTY,))
        columns = [f"said {name}" for name in classes] + [f"true {name}" for name in classes]
        table = pd.DataFrame(np.concatenate([scores, truth[held]], axis=1), columns=columns)
        said.append(table.groupby(obs["field_id"][held].to_numpy(str)).mean())
    fields = pd.concat(said).sort_index()
    scores, truth = (fields.filter(regex=f"^{kind} ").to_numpy() for kind in ("said", "true"))
    found = bootstrap_metric(
        macro_ap, truth > 0, scores, fields.index.to_numpy(str), bootstraps=BOOTSTRAPS, seed=SEED, bounds=(0, 1)
    )
    return Scored(found, chance_of("macro_ap", truth > 0), len(fields), seeds)


def scored_locations(obs: pd.DataFrame) -> list[str]:
    """Locations that enough fields have, whatever a model says."""
    of_field = obs.groupby("field_id")["locations"].first()
    table = label_table(of_field)
    return [name for name in table.columns if table[name].sum() >= MIN_FIELDS]


def _held_out(fold: Fold) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    return fold.cells.obs[fold.held_out], standardise(fold.cells.features, ~fold.held_out)[fold.held_out]


def _mean_over_fields(parts: list[pd.DataFrame], seeds: int) -> Scored:
    """Fields of all folds together: each was scored among the held-out fields of its own."""
    fields = pd.concat(parts).sort_index().dropna()
    found = bootstrap_mean(fields["score"], bootstraps=BOOTSTRAPS, seed=SEED, bounds=(0, 1))
    return Scored(found, float(fields["chance"].mean()), len(fields), seeds)


def _with_antibodies(crops: Path, path: Path) -> Path:
    """The crops with the field as antibody, sides of a split taken off."""
    store = CropStore(crops)
    obs = described(store.obs)
    obs["antibody"], obs["split"] = obs["field_id"], None
    write_h5sc(path, obs, store.read(np.arange(len(store))), field_um=store.field_um)
    return path


def main() -> None:
    """Score, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results/evidence"))
    parser.add_argument("--pretrained", type=Path, default=Path("resources/subcell_tiny.safetensors"))
    asked = parser.parse_args()
    crops = asked.results / NAME / "crops" / "0000.h5sc"
    table, counted = run(crops, Pretrained.read(asked.pretrained), asked.results / f"scores_{NAME}")
    print(table.to_string(index=False), counted)


if __name__ == "__main__":
    main()
