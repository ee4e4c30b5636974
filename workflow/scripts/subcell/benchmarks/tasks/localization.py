"""Localization: which locations a protein has, from the frozen embedding of a single cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.guards.held_out import HEADLINE, Asked, held_out_otherwise, of_the_probe_only, unseen_genes
from subcell.benchmarks.guards.leakage import check_split, seen_by_networks, training_genes, trains_too
from subcell.benchmarks.inputs.labels import (
    groups_of,
    kaggle_classes,
    label_table,
    lacks_antibodies,
    released_classes,
    with_labels_of_cells,
    without_antibodies,
)
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.probes.probes import linear_probe, nearest_neighbors
from subcell.benchmarks.statistics.bootstrap import units_key
from subcell.benchmarks.statistics.result import Result, not_run, write_result
from subcell.catalog.splits import read_antibody_ids
from subcell.errors import SubcellError
from subcell.names import plural

BENCHMARK = "localization"
UNIT = "antibody"
TRAINS = True
METRICS = (HEADLINE, "micro_ap", "macro_auc", "coverage_error", "label_ranking_ap")
NEGATIVE = "Negative"
NOT_NEGATIVE = f"{NEGATIVE}: cells without locations are left out, and nothing else says it here"
FREQUENCIES = ("rare", "medium", "common")
PUBLISHED_SETS = ("", "_19", "_31")
"""Sets of classes of which the paper has scores."""


def run(
    cells: str | Path,
    *,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    split_by: str = "gene",
    train_cells: str | Path | None = None,
    network_fields: Sequence[str | Path] = (),
    cell_labels: str | Path | None = None,
    seen_antibodies: Sequence[str | Path] = (),
    training_lists: Sequence[str | Path] = (),
    release: str | Path | None = None,
    head_seeds: int = 10,
    head_batch_size: int = 8192,
    balance: str = "none",
    device: str = "cpu",
    bootstraps: int = 1000,
    min_test_antibodies: int = 3,
    seed: int = 42,
    **_other: Any,
) -> Result:
    """Train the paper's classifiers on the training cells and score them on the cells of held-out proteins.

    Every cell carries the locations of its field; cells of fields without any are left out. A class is scored if
    training cells have it and at least `min_test_antibodies` held-out antibodies do: a choice that depends on labels
    only, so all models are scored on the same classes and cells. Of images that are not simulated the MLP is scored as in
    the paper too (`frozen.score_as_published`). Beside the MLP a linear probe and nearest neighbours are
    scored; with the linear probe also cells of other antibodies of training genes, and of a line that was left out.

    Parameters
    ----------
    cells : AnnData file of vectors; obs with `split`, `locations` and `antibody` or `gene`
    out_json, out_parquet : see `subcell.benchmarks.statistics.result`; the predictions are those of the test cells, the mean over
        all classifiers
    dataset, model, simulated : go into the result
    split_by : how the dataset is split, see `subcell.benchmarks.guards.leakage`
    train_cells : vectors of another dataset by the same model: its training cells train, and all labelled cells of this
        dataset test, but those of antibodies and genes that train, there or in `network_fields`
    network_fields : tables of the fields of all datasets that train a network which is scored on this one, see
        `subcell.benchmarks.guards.leakage.seen_by_networks`
    cell_labels : table of per-cell labels that replace those of the fields, see `with_labels_of_cells`
    seen_antibodies : files of antibodies, one a line, whose cells are left out because a network was trained on them
    training_lists, release : see `subcell.benchmarks.guards.leakage.training_genes`; needed to say which test genes released
        weights have not seen
    head_seeds : classifiers, which differ in their seed
    head_batch_size : cells a step of a classifier; the paper's is 8192
    balance, device : see `subcell.benchmarks.probes.mlp.fit_mlps`
    bootstraps : resamples of held-out antibodies behind an interval
    seed : the first seed of the classifiers, and that of the bootstrap

    Returns
    -------
    Result, as written; where something is missing its status is "not run" and the reason says what

    Raises
    ------
    SubcellError : something held out is trained on
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    table = frozen.read_cells(cells)
    trained, unknown = training_genes(table.obs, table.column("split"), lists=training_lists, release=release)
    seen = read_antibody_ids(seen_antibodies)
    if reason := lacks_antibodies(table, seen, seen_antibodies):
        return write_result(not_run(reason, **names), out_json, out_parquet)
    left_out: dict[str, int] = {}
    if cell_labels:
        table, left_out = with_labels_of_cells(table, cell_labels)
    if seen_antibodies:
        # What trains the classifiers may have been seen.
        split = None if train_cells else "test"
        table, left_out["seen_antibodies"] = without_antibodies(table, seen, split=split)
    if train_cells:
        networks = seen_by_networks(network_fields)
        table, seen_cells = trained_elsewhere(table, frozen.read_cells(train_cells), networks)
        trained |= training_genes(table.obs, table.column("split"))[0]
        left_out |= {"of_training_antibodies_or_genes": seen_cells}
    labelled = table.column("locations").notna()
    splits = table.column("split").isin(frozen.SPLITS)
    of_cells = frozen.resampled_units(table.obs, by=split_by)
    reason = _missing(labelled.any(), splits.any(), of_cells is not None)
    if reason or of_cells is None:
        return write_result(not_run(reason, **names), out_json, out_parquet)
    unit = str(of_cells.name)
    known = (labelled & splits & of_cells.notna()).to_numpy()
    part, units = table.kept(known), of_cells[known]
    split = part.column("split")
    truth = label_table(part.column("locations"))
    classes, others = frozen.scored_classes(truth, split, units, min_test_units=min_test_antibodies)
    shared = check_split(part.obs, split, by=split_by, where=f"{dataset}, localization")
    reason = frozen.missing_cells(
        truth[classes], split, what="locations", unit=unit, min_test_units=min_test_antibodies
    )
    if reason:
        return write_result(not_run(reason, **names), out_json, out_parquet)
    from subcell.benchmarks.probes.mlp import PROTOCOL, standardise

    wanted = truth[classes].to_numpy(bool)
    sides = {side: (split == side).to_numpy() for side in frozen.SPLITS}
    test = sides["test"]
    features = standardise(part.features, sides["train"])
    probabilities, spread = frozen.predict_held_out(
        features,
        wanted,
        split.to_numpy(),
        seeds=range(seed, seed + head_seeds),
        batch_size=head_batch_size,
        balance=balance,
        device=device,
    )
    test_truth, test_units = wanted[test], units[test].to_numpy(str)
    counted: dict[str, Any] = {"unit": unit, "head_seeds": head_seeds, "bootstraps": bootstraps, "seed": seed}
    scores = frozen.score(METRICS, test_truth, probabilities, test_units, **counted)
    of_units = frozen.per_unit(test_truth, probabilities, test_units)
    scores += frozen.score([HEADLINE], *of_units, **counted, prefix="protein_")
    train_units = [units[wanted[:, number] & sides["train"]].nunique() for number in range(len(classes))]
    for suffix, columns in class_sets(classes, train_units).items():
        scores += frozen.score(
            [HEADLINE], test_truth[:, columns], probabilities[:, columns], test_units, **counted, suffix=suffix
        )
    for name, some in grouped(classes, test_truth, probabilities).items():
        scores += frozen.score([HEADLINE], *some, test_units, **counted, suffix=name)
    if not simulated:
        sets = {"": list(range(len(classes)))} | class_sets(classes, train_units)
        scores += frozen.score_as_published(
            part.features,
            wanted,
            split.to_numpy(),
            test_units,
            {suffix: columns for suffix, columns in sets.items() if suffix in PUBLISHED_SETS},
            unit=unit,
            seeds=range(seed, seed + head_seeds),
            batch_size=head_batch_size,
            device=device,
            bootstraps=bootstraps,
            seed=seed,
        )
    asked = Asked(part, features, wanted, sides, units, counted, min_test_antibodies)
    unseen, unseen_classes, lacking = unseen_genes(asked, probabilities, trained=trained, unknown=unknown)
    scores += unseen
    counted = {**counted, "head_seeds": 0}
    for prefix, said in (
        ("linear_", linear_probe(features, wanted, **sides)),
        ("knn_", nearest_neighbors(features, wanted, train=sides["train"], test=test)),
    ):
        scores += frozen.score([HEADLINE], test_truth, said, test_units, **counted, prefix=prefix)
    further, not_given = held_out_otherwise(replace(asked, counted=counted))
    scores += further
    if lacking:
        not_given["unseen_gene_macro_ap"] = lacking
    found = Result(
        **names,
        metrics=scores.metrics,
        replicates={HEADLINE: scores.replicates[HEADLINE]},
        units_key=units_key(test_units),
        settings={
            "task": f"locations of a cell (labels of {'the cell' if cell_labels else 'its field'}), held-out {plural(unit)}; "
            f"columns of the result: single cells, protein_macro_ap: mean probability per {unit}",
            "cells": f"those of {'proteins that train no classifier and no network' if train_cells else 'held-out proteins'}",
            "classes": classes,
            **({} if NEGATIVE in classes else {"not_among_the_classes": NOT_NEGATIVE}),
            "classifier_trained_on": "another dataset" if train_cells else "the training part of this dataset",
            "balanced": balance,
            **frozen.settings_of(
                {**PROTOCOL, "batch_size": head_batch_size},
                **{**counted, "head_seeds": head_seeds},
                min_test_antibodies=min_test_antibodies,
            ),
            **shared,
            **of_the_probe_only(further),
            **({"unseen_gene_classes": [classes[n] for n in unseen_classes]} if unseen_classes else {}),
        },
        details={
            "cells": {name: int(rows.sum()) for name, rows in sides.items()},
            "cells_left_out": {
                "no_locations": int((~labelled).sum()),
                "no_split": int((~splits).sum()),
                f"no_{unit}": int(of_cells.isna().sum()),
                **left_out,
            },
            "classes": _with_sets(
                frozen.class_details(classes, truth, split, units, test_truth, probabilities), train_units
            ),
            "classes_not_scored": others,
            "scores_not_given": not_given,
            "head_seeds": spread,
        },
    )
    predictions = frozen.prediction_table(part.obs[test], test_units, classes, test_truth, probabilities)
    return write_result(found, out_json, out_parquet, predictions)


def class_sets(classes: list[str], train_units: list[int]) -> dict[str, list[int]]:
    """Suffix of a score -> numbers of the classes that it is the mean of; sets of one class or of all are left out.

    Rare, medium and common are thirds of the classes by the number of training proteins that have them.
    """
    order = sorted(range(len(classes)), key=lambda number: (train_units[number], classes[number]))
    thirds = np.array_split(np.array(order), len(FREQUENCIES))
    sets = {f"_{name}": sorted(map(int, part)) for name, part in zip(FREQUENCIES, thirds, strict=True)}
    sets["_19"] = [number for number, name in enumerate(classes) if name in kaggle_classes()]
    sets["_31"] = [
        number for number, name in enumerate(classes) if name in {row["location"] for row in released_classes()}
    ]
    return {suffix: columns for suffix, columns in sets.items() if 1 < len(columns) < len(classes)}


def grouped(
    classes: list[str], truth: NDArray[np.bool_], probabilities: NDArray[np.floating]
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.floating]]]:
    """Truth and probability of groups of classes: a group is had if one of its classes is, and as likely as the likeliest."""
    groups = groups_of(classes)
    names = sorted(set(groups.values()))
    if len(names) < 2:
        return {}
    members = [[number for number, name in enumerate(classes) if groups.get(name) == group] for group in names]
    return {
        "_grouped": (
            np.column_stack([truth[:, columns].any(axis=1) for columns in members]),
            np.column_stack([probabilities[:, columns].max(axis=1) for columns in members]),
        )
    }


def trained_elsewhere(table: frozen.Cells, trained: frozen.Cells, networks: pd.DataFrame) -> tuple[frozen.Cells, int]:
    """Training and validation cells of another dataset, with all cells of this one as test cells.

    Parameters
    ----------
    networks : antibodies and genes that a network has seen, see `subcell.benchmarks.guards.leakage.seen_by_networks`

    Returns
    -------
    cells of both, and how many of this dataset were left out because their antibody or gene trains a classifier or network

    Raises
    ------
    SubcellError : the vectors differ in length
    """
    if table.features.shape[1] != trained.features.shape[1]:
        raise SubcellError(
            f"vectors of {trained.features.shape[1]} numbers in the dataset that trains the classifiers, of "
            f"{table.features.shape[1]} in the one that is scored: its channels differ"
        )
    trained = trained.kept(trained.column("split").isin(("train", "valid")).to_numpy())
    seen = trains_too(table.obs, trained.obs) | trains_too(table.obs, networks)
    rest = table.kept(~seen)
    learned = trained.obs
    if "field_id" in learned:
        # Two datasets may call their fields alike.
        learned = learned.assign(field_id="train: " + learned["field_id"].astype(str))
    obs = pd.concat([learned, rest.obs.assign(split="test")])
    return frozen.Cells(np.concatenate([trained.features, rest.features]), obs), int(seen.sum())


def perfect_features(obs: pd.DataFrame) -> NDArray[np.float32]:
    """A column a location, (N, C): 1 where a cell has it."""
    return label_table(obs["locations"].astype(object).fillna("")).to_numpy(np.float32)


def _with_sets(details: list[dict[str, Any]], train_units: list[int]) -> list[dict[str, Any]]:
    classes = [entry["class"] for entry in details]
    sets, groups = class_sets(classes, train_units), groups_of(classes)
    frequency = {number: name for name in FREQUENCIES for number in sets.get(f"_{name}", [])}
    return [
        {
            **entry,
            "kaggle_19": entry["class"] in kaggle_classes(),
            "group": groups.get(entry["class"]),
            "frequency": frequency.get(number),
        }
        for number, entry in enumerate(details)
    ]


def _missing(labelled: bool, splits: bool, units: bool) -> str:
    if not labelled:
        return "needs locations"
    if not units:
        return "needs antibody or gene"
    return "" if splits else "needs split"
