"""Cell line: which line a cell is of, from its frozen embedding."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.guards.leakage import check_split
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.probes.probes import linear_probe, nearest_neighbors
from subcell.benchmarks.statistics.bootstrap import units_key
from subcell.benchmarks.statistics.result import Result, not_run, write_result
from subcell.names import plural

BENCHMARK = "cell_line"
UNIT = "antibody"
DEALT = "field_id"
TRAINS = True
HEADLINE = "macro_ap"
METRICS = (HEADLINE, "accuracy", "macro_auc")
FRACTIONS = {"train": 0.6, "valid": 0.15, "test": 0.25}


def run(
    cells: str | Path,
    *,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    split_by: str = "gene",
    head_seeds: int = 10,
    head_batch_size: int = 8192,
    balance: str = "none",
    device: str = "cpu",
    bootstraps: int = 1000,
    min_test_antibodies: int = 3,
    seed: int = 42,
    **_other: Any,
) -> Result:
    """Train the classifiers of `localization.run` to tell cell lines, and score them on held-out cells.

    Where every line lies on at least three plates, whole plates are held out. Else (in HPA a plate holds one line, and
    most lines few plates) the split of the dataset is used, which holds out antibodies and with them wells, but not
    plates: the score then includes whatever tells plates apart. `settings["split"]` says which it was.

    Parameters and result are those of `localization.run`; obs needs `cell_line`.
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    table = frozen.read_cells(cells)
    line = table.column("cell_line")
    plates = split_by_plate(table.column("plate"), line)
    by_plate = plates is not None
    split = table.column("split") if plates is None else plates
    of_cells = table.column("plate") if by_plate else frozen.resampled_units(table.obs, by=split_by)
    reason = _missing(line, table.column("split"), by_plate, of_cells is not None)
    if reason or of_cells is None:
        return write_result(not_run(reason, **names), out_json, out_parquet)
    unit = str(of_cells.name)
    known = (line.notna() & split.isin(frozen.SPLITS) & of_cells.notna()).to_numpy()
    part, line, split, units = table.kept(known), line[known], split[known], of_cells[known]
    truth = pd.DataFrame({name: (line == name).to_numpy() for name in sorted(line.unique())})
    needed = 1 if by_plate else min_test_antibodies
    classes, others = frozen.scored_classes(truth, split, units, min_test_units=needed)
    reason = frozen.missing_cells(truth[classes], split, what="cell lines", unit=unit, min_test_units=needed)
    if reason:
        return write_result(not_run(reason, **names), out_json, out_parquet)
    from subcell.benchmarks.probes.mlp import PROTOCOL, standardise

    # One class a cell: cells of lines that are not scored would have none.
    scored = line.isin(classes).to_numpy()
    part, split, units, truth = part.kept(scored), split[scored], units[scored], truth[scored]
    shared = check_split(part.obs, split, by="none" if by_plate else split_by, where=f"{dataset}, cell line")
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
    for prefix, said in (
        ("linear_", linear_probe(features, wanted, **sides)),
        ("knn_", nearest_neighbors(features, wanted, train=sides["train"], test=test)),
    ):
        scores += frozen.score([HEADLINE], test_truth, said, test_units, **{**counted, "head_seeds": 0}, prefix=prefix)
    found = Result(
        **names,
        metrics=scores.metrics,
        replicates={HEADLINE: scores.replicates[HEADLINE]},
        units_key=units_key(test_units),
        settings={
            "task": "cell line of a single cell",
            "split": _say_split(by_plate, part, unit),
            "classes": classes,
            **frozen.settings_of(
                {**PROTOCOL, "batch_size": head_batch_size}, **counted, min_test_antibodies=min_test_antibodies
            ),
            "balanced": balance,
            **shared,
        },
        details={
            "cells": {side: int((split == side).sum()) for side in frozen.SPLITS},
            "cells_left_out": int(len(table.obs) - len(part.obs)),
            "classes": frozen.class_details(classes, truth, split, units, test_truth, probabilities),
            "classes_not_scored": others,
            "head_seeds": spread,
        },
    )
    predictions = frozen.prediction_table(part.obs[test], test_units, classes, test_truth, probabilities)
    return write_result(found, out_json, out_parquet, predictions)


def split_by_plate(plate: pd.Series, line: pd.Series) -> pd.Series | None:
    """Hold out whole plates, so that every line is on every side.

    Plates that hold the same lines are dealt out among themselves, in the order of a hash of their names.

    Parameters
    ----------
    plate, line : (N,) None where unknown

    Returns
    -------
    (N,) train, valid, test, or None; None instead of all where a line would be missing on a side
    """
    known = plate.notna() & line.notna()
    lines_of = pd.DataFrame({"plate": plate[known], "line": line[known]}).groupby("plate")["line"].agg(frozenset)
    side_of: dict[str, str] = {}
    for _, plates in lines_of.groupby(lines_of.map(lambda names: "\n".join(sorted(names)))):
        ordered = sorted(plates.index, key=lambda name: hashlib.sha256(str(name).encode()).digest())
        test = max(1, round(FRACTIONS["test"] * len(ordered)))
        valid = max(1, round(FRACTIONS["valid"] * len(ordered)))
        sides = ["test"] * test + ["valid"] * valid + ["train"] * len(ordered)
        side_of.update(zip(ordered, sides, strict=False))
    split = plate.map(side_of).where(known, None).astype(object)
    present = pd.DataFrame({"line": line[known], "side": split[known]}).drop_duplicates()
    complete = len(present) == line[known].nunique() * len(frozen.SPLITS)
    return split.where(split.notna(), None) if complete and known.any() else None


def _say_split(by_plate: bool, part: frozen.Cells, unit: str) -> str:
    if by_plate:
        return "by plate: every line has held-out plates; a network may have been trained on cells of them"
    plate, line = part.column("plate"), part.column("cell_line")
    if plate.isna().all():
        return (
            f"by the dataset's split (held-out {plural(unit)}): no plates are known, they may help to tell lines apart"
        )
    nested = (line.groupby(plate).nunique() == 1).all()
    why = "each plate holds one line" if nested else "some line has fewer than three plates"
    return (
        f"by the dataset's split (held-out {plural(unit)}): a split by plate is not possible, {why}; "
        "the score includes differences between plates"
    )


def _missing(line: pd.Series, given: pd.Series, by_plate: bool, units: bool) -> str:
    if line.isna().all():
        return "needs cell_line"
    if line.nunique() < 2:
        return "needs two cell lines"
    if not units:
        return "needs antibody or gene, or three plates a cell line"
    return "" if by_plate or given.isin(frozen.SPLITS).any() else "needs split"


def perfect_features(obs: pd.DataFrame) -> NDArray[np.float32]:
    """A column a cell line, (N, C): 1 where a cell is of it."""
    return pd.get_dummies(obs["cell_line"]).to_numpy(np.float32)
