"""External: what a classifier that was trained at home is worth on images from elsewhere.

Protocol. Location classifiers are trained as in `localization`, on the training cells of the model's home dataset, and score
two sets of cells that they never saw: the held-out proteins at home, and those of the external dataset whose proteins train
neither these classifiers nor a network that is scored there. All models are scored on the same cells. Nothing is fitted on the
external dataset, not even a mean. Classes are those that are scored on both sides, by labels alone. `external_macro_ap` (the
headline) is the score there, `home_macro_ap` that at home and `drop` the difference: what another microscope, laboratory or
line costs. Average precision also falls where classes are rarer; chance stands beside both. The interval comes from resampling
the external antibodies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subcell.benchmarks.guards.leakage import TRAINING, seen_by_networks, trains_too
from subcell.benchmarks.inputs.labels import label_table, lacks_antibodies, without_antibodies
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.statistics.bootstrap import units_key
from subcell.benchmarks.statistics.result import Metric, Result, not_run, write_result
from subcell.benchmarks.tasks.localization import perfect_features
from subcell.catalog.splits import read_antibody_ids

__all__ = ["BENCHMARK", "UNIT", "perfect_features", "run"]

BENCHMARK, UNIT = "external", "antibody"
HEADLINE = "external_macro_ap"
TRAINS = True
SCORES = ("macro_ap", "macro_auc")


def run(
    cells: str | Path,
    *,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    split_by: str = "gene",
    home_cells: str | Path | None = None,
    home: str = "",
    network_fields: Sequence[str | Path] = (),
    seen_antibodies: Sequence[str | Path] = (),
    home_seen_antibodies: Sequence[str | Path] = (),
    head_seeds: int = 10,
    head_batch_size: int = 8192,
    balance: str = "none",
    bootstraps: int = 1000,
    min_test_antibodies: int = 3,
    seed: int = 42,
    device: str = "cpu",
    **_other: Any,
) -> Result:
    """Train at home, score elsewhere.

    Parameters
    ----------
    cells : vectors of the external dataset; obs with `locations` and `antibody` or `gene`
    out_json, out_parquet : see `subcell.benchmarks.statistics.result`; the predictions are those of the external cells
    dataset, model, simulated : go into the result
    home_cells : vectors of the home dataset by the same model; obs with `split` too
    home : its name
    network_fields, seen_antibodies : as in `localization`; what they name is not scored on the external dataset
    home_seen_antibodies : the same lists for the home dataset
    head_seeds, head_batch_size, balance, bootstraps, min_test_antibodies, seed, device : as in `localization`
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    if not home_cells:
        return write_result(
            not_run("needs a home dataset, where classifiers are trained", **names), out_json, out_parquet
        )
    table, listed = frozen.read_cells(cells), read_antibody_ids(seen_antibodies)
    others, left_out = without_antibodies(table, listed)
    home_table, home_left_out = without_antibodies(
        frozen.read_cells(home_cells), read_antibody_ids(home_seen_antibodies), split="test"
    )
    here, there = _labelled(others), _labelled(home_table)
    order = frozen.UNITS[::-1] if split_by == "gene" else frozen.UNITS
    unit = next((name for name in order if all(part.column(name).notna().any() for part in (here, there))), None)
    reason = lacks_antibodies(table, listed, seen_antibodies) or _missing(here, there, unit)
    if reason or unit is None:
        return write_result(not_run(reason, **names), out_json, out_parquet)
    here, there = (part.kept(part.column(unit).notna().to_numpy()) for part in (here, there))
    joined, split, side = _joined(here, there, seen_by_networks(network_fields))
    seen = len(here.obs) - int((side == "external").sum())
    units = joined.column(unit)
    truth = label_table(joined.column("locations"))
    scored = [
        set(frozen.scored_classes(truth[rows], split[rows], units[rows], min_test_units=min_test_antibodies)[0])
        for rows in (((split != "test") | (side == part)).to_numpy() for part in ("external", "home"))
    ]
    classes = [name for name in truth.columns if name in scored[0] & scored[1]]
    reason = frozen.missing_cells(
        truth[classes], split, what="locations", unit=unit, min_test_units=min_test_antibodies
    )
    if reason:
        known = f"; {seen} cells of {dataset} are of antibodies or genes that train" if seen else ""
        return write_result(not_run(f"{reason}, in {dataset} and in {home}{known}", **names), out_json, out_parquet)
    from subcell.benchmarks.probes.mlp import PROTOCOL, standardise

    wanted = truth[classes].to_numpy(bool)
    test = (split == "test").to_numpy()
    elsewhere = (side[test] == "external").to_numpy()
    probabilities, spread = frozen.predict_held_out(
        standardise(joined.features, (split == "train").to_numpy()),
        wanted,
        split.to_numpy(),
        seeds=range(seed, seed + head_seeds),
        batch_size=head_batch_size,
        balance=balance,
        device=device,
        headline=elsewhere,
    )
    test_truth, test_units = wanted[test], units[test].to_numpy(str)
    counted: dict[str, Any] = {"unit": unit, "head_seeds": head_seeds, "bootstraps": bootstraps, "seed": seed}
    outside = frozen.score(
        SCORES, test_truth[elsewhere], probabilities[elsewhere], test_units[elsewhere], **counted, prefix="external_"
    )
    inside = frozen.score(
        SCORES, test_truth[~elsewhere], probabilities[~elsewhere], test_units[~elsewhere], **counted, prefix="home_"
    )
    metrics = [*outside.metrics, *inside.metrics, _drop(outside, inside, unit, head_seeds)]
    external_obs = joined.obs[test][elsewhere]
    result = Result(
        **names,
        metrics=metrics,
        replicates={HEADLINE: outside.replicates[HEADLINE]},
        units_key=units_key(test_units[elsewhere]),
        settings={
            "task": f"locations of a cell by classifiers trained on {home}; nothing is fitted on {dataset}",
            "home": home,
            "classes": classes,
            "balanced": balance,
            **frozen.settings_of(
                {**PROTOCOL, "batch_size": head_batch_size}, **counted, min_test_antibodies=min_test_antibodies
            ),
        },
        details={
            "cells": {"external": int(elsewhere.sum()), "home": int((~elsewhere).sum())},
            "cells_left_out": {
                "no_locations": int(table.column("locations").isna().sum()),
                f"no_{unit}": int(table.column(unit).isna().sum()),
                "seen_antibodies": left_out,
                "seen_antibodies_at_home": home_left_out,
                "of_training_antibodies_or_genes": seen,
            },
            "classes": frozen.class_details(
                classes,
                truth[test][elsewhere],
                split[test][elsewhere],
                units[test][elsewhere],
                test_truth[elsewhere],
                probabilities[elsewhere],
            ),
            "head_seeds": spread,
        },
    )
    predictions = frozen.prediction_table(
        external_obs, test_units[elsewhere], classes, test_truth[elsewhere], probabilities[elsewhere]
    )
    return write_result(result, out_json, out_parquet, predictions)


def _labelled(cells: frozen.Cells) -> frozen.Cells:
    return cells.kept(cells.column("locations").notna().to_numpy())


def _joined(
    here: frozen.Cells, there: frozen.Cells, networks: pd.DataFrame
) -> tuple[frozen.Cells, pd.Series, pd.Series]:
    """Cells of both, the side of the split each is on, and where it comes from.

    External cells of an antibody or gene that trains a network, or that the classifiers are trained or chosen on, are left out.
    """
    home_split = there.column("split")
    kept = home_split.isin(frozen.SPLITS).to_numpy()
    there, home_split = there.kept(kept), home_split[kept]
    known = home_split.isin(TRAINING).to_numpy()
    here = here.kept(~(trains_too(here.obs, there.obs[known]) | trains_too(here.obs, networks)))
    columns = ["locations", "split", "field_id", *frozen.UNITS]
    obs = pd.concat(
        [pd.DataFrame({name: cells.column(name) for name in columns}) for cells in (there, here)],
        keys=["home", "external"],
        names=["side", "cell_id"],
    )
    side = pd.Series(obs.index.get_level_values("side"))
    obs = obs.reset_index(drop=True)
    obs.index = pd.Index([*there.obs.index, *here.obs.index], name="cell_id")
    split = pd.Series([*home_split, *["test"] * len(here.obs)], index=obs.index, dtype=object)
    side.index = obs.index
    return frozen.Cells(np.concatenate([there.features, here.features]), obs), split, side


def _drop(outside: Any, inside: Any, unit: str, seeds: int) -> Metric:
    """Home minus external; both resampled, so the spread of the difference is that of both."""
    away, home = outside.metrics[0], inside.metrics[0]
    value = home.value - away.value
    halves = [(of.high - of.low) / 2 if of.high is not None and of.low is not None else np.nan for of in (away, home)]
    reach = float(np.linalg.norm(halves))
    return Metric("drop", value, value - reach, value + reach, None, away.n, seeds, unit)


def _missing(here: frozen.Cells, there: frozen.Cells, unit: str | None) -> str:
    if not len(here.obs) or not len(there.obs):
        return "needs locations, in both datasets"
    if unit is None:
        return "needs antibody or gene"
    if here.features.shape[1] != there.features.shape[1]:
        return f"needs vectors of one model (found {there.features.shape[1]} and {here.features.shape[1]} numbers)"
    return "" if there.column("split").isin(frozen.SPLITS).any() else "needs split at home"
