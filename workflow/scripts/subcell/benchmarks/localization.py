"""Localization: which locations a protein has, from the frozen embedding of a single cell."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks import frozen
from subcell.benchmarks.bootstrap import units_key
from subcell.benchmarks.result import Result, not_run, write_result

BENCHMARK = "localization"
UNIT = "antibody"
HEADLINE = "macro_ap"
METRICS = (HEADLINE, "micro_ap", "macro_auc", "coverage_error", "label_ranking_ap")
CLASSES_FILE = Path(__file__).parents[4] / "resources" / "location_classes.tsv"


def run(
    cells: str | Path,
    *,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    head_seeds: int = 10,
    head_batch_size: int = 8192,
    bootstraps: int = 1000,
    min_test_antibodies: int = 3,
    seed: int = 42,
    **_other_scoring: Any,
) -> Result:
    """Train the paper's classifiers on the training cells and score them on the cells of held-out proteins.

    Every cell carries the locations of its field; cells of fields without any are left out. A class is scored if
    training cells have it and at least `min_test_antibodies` held-out antibodies do: a choice that depends on labels
    only, so all models are scored on the same classes and cells.

    Parameters
    ----------
    cells : AnnData file of vectors; obs with `split`, `locations` and `antibody` or `gene`
    out_json, out_parquet : see `subcell.benchmarks.result`; the predictions are those of the test cells, the mean over
        all classifiers
    dataset, model, simulated : go into the result
    head_seeds : classifiers, which differ in their seed
    head_batch_size : cells a step of a classifier; the paper's is 8192
    bootstraps : resamples of held-out antibodies behind an interval
    seed : the first seed of the classifiers, and that of the bootstrap

    Returns
    -------
    Result, as written; where something is missing its status is "not run" and the reason says what
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    table = frozen.read_cells(cells)
    labelled = table.column("locations").notna()
    splits = table.column("split").isin(frozen.SPLITS)
    unit = frozen.resampled_unit(table)
    known = (labelled & splits).to_numpy()
    if unit is not None:
        known &= table.column(unit).notna().to_numpy()
    part = table.kept(known)
    split, units = part.column("split"), part.column(unit or "antibody")
    truth = label_table(part.column("locations"))
    classes, others = frozen.scored_classes(truth, split, units, min_test_units=min_test_antibodies)
    reason = _missing(labelled.any(), splits.any(), unit) or frozen.missing_cells(
        truth[classes], split, what="locations", unit=unit, min_test_units=min_test_antibodies
    )
    if reason or unit is None:
        return write_result(not_run(reason, **names), out_json, out_parquet)
    from subcell.benchmarks.mlp import PROTOCOL

    wanted = truth[classes].to_numpy(bool)
    seeds = range(seed, seed + head_seeds)
    probabilities, spread = frozen.predict_held_out(
        part, wanted, split.to_numpy(), seeds=seeds, batch_size=head_batch_size
    )
    test = (split == "test").to_numpy()
    test_truth, test_units = wanted[test], units[test].to_numpy(str)
    counted: dict[str, Any] = {"unit": unit, "head_seeds": head_seeds, "bootstraps": bootstraps, "seed": seed}
    scores = frozen.score(METRICS, test_truth, probabilities, test_units, **counted)
    of_units = frozen.per_unit(test_truth, probabilities, test_units)
    scores += frozen.score(["macro_ap"], *of_units, **counted, prefix="protein_")
    found = Result(
        **names,
        metrics=scores.metrics,
        replicates={HEADLINE: scores.replicates[HEADLINE]},
        units_key=units_key(test_units),
        settings={
            "task": f"locations of a cell (labels of its field), held-out {unit}s; columns of the result: single cells, "
            f"protein_macro_ap: mean probability per {unit}",
            "classes": classes,
            **frozen.settings_of(
                {**PROTOCOL, "batch_size": head_batch_size}, **counted, min_test_antibodies=min_test_antibodies
            ),
            **frozen.shared_between_sides(part.obs, split),
        },
        details={
            "cells": {side: int((split == side).sum()) for side in frozen.SPLITS},
            "cells_left_out": {
                "no_locations": int((~labelled).sum()),
                "no_split": int((~splits).sum()),
                f"no_{unit}": int(table.column(unit).isna().sum()),
            },
            "classes": _with_kaggle(frozen.class_details(classes, truth, split, units, test_truth, probabilities)),
            "classes_not_scored": others,
            "head_seeds": spread,
        },
    )
    predictions = frozen.prediction_table(part.obs[test], test_units, classes, test_truth, probabilities)
    return write_result(found, out_json, out_parquet, predictions)


def label_table(labels: Iterable[str]) -> pd.DataFrame:
    """Locations of each cell as a table of bool, a column a location.

    Released SubCell classes come first, in their order, then all others by name.
    """
    sets = [frozenset(name.strip() for name in str(label).split(";") if name.strip()) for label in labels]
    present = set().union(*sets)
    order = [row["location"] for row in released_classes() if row["location"] in present]
    order += sorted(present - set(order))
    return pd.DataFrame({name: np.array([name in names for names in sets], bool) for name in order})


def released_classes() -> list[dict[str, str]]:
    """The 31 classes of the released SubCell classifiers, in the order of their outputs.

    Returns
    -------
    rows of resources/location_classes.tsv: index, location, kaggle_19 ("1" for the 19 classes of the Kaggle challenge
    on single cells) and the groupings of HPA's locations that SubCell's analysis uses
    """
    with open(CLASSES_FILE, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _with_kaggle(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kaggle = {row["location"] for row in released_classes() if row["kaggle_19"] == "1"}
    return [{**entry, "kaggle_19": entry["class"] in kaggle} for entry in details]


def _missing(labelled: bool, splits: bool, unit: str | None) -> str:
    if not labelled:
        return "needs locations"
    if unit is None:
        return "needs antibody or gene"
    return "" if splits else "needs split"


def perfect_features(obs: pd.DataFrame) -> NDArray[np.float32]:
    """A column a location, (N, C): 1 where a cell has it."""
    return label_table(obs["locations"].astype(object).fillna("")).to_numpy(np.float32)
