"""Robustness: whether the vector of a cell survives changes of its image that leave the cell what it is.

Protocol. Some held-out cells of a dataset, chosen by a hash of their id, are changed in ten ways at four severities each
(`subcell.benchmarks.inputs.disturbances`) and embedded again. Vectors are centred on the mean of the unchanged ones: without that
all cosines are near 1. `same_cell` (the headline) is the share of changed cells whose nearest unchanged vector is their
own, averaged over ways and severities; `cosine` the mean cosine to their own; `flipped` the share whose most likely
location is another: by the classifiers that come with the model, or by a ridge regression on the vectors of the training
cells. All three also stand for each way alone, protein brightness among them. Models side by side show what an objective
buys: with and without the cell-specific one. The interval comes from resampling antibodies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.inputs.disturbances import SEVERITIES, disturb
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.statistics.bootstrap import LEVEL, bootstrap_mean, units_key
from subcell.benchmarks.statistics.result import Metric, Result, as_metric, kept, not_run, write_result
from subcell.crops.store import CropStore
from subcell.embedding.models import PROBABILITIES, Embedder
from subcell.embedding.sampling import sample_cells, sample_held_out
from subcell.names import names_in, plural

BENCHMARK, UNIT = "robustness", "antibody"
HEADLINE = "same_cell"
MEASURES = ("same_cell", "cosine", "flipped")
LEAST_CELLS = 8
BATCH = 64
PROBE_CELLS = 5000
RIDGE = 10.0
"""Pull of the regression to 0; vectors are standardised."""


def run(
    crops: Sequence[str | Path],
    *,
    embedder: Embedder,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    split_by: str = "gene",
    cells: str | Path | None = None,
    sampled_cells: int = 100,
    bootstraps: int = 1000,
    seed: int = 42,
    **_other: Any,
) -> Result:
    """Embed changed cells and compare.

    Parameters
    ----------
    crops : crop files of the dataset
    embedder : the model
    out_json, out_parquet : see `subcell.benchmarks.statistics.result`; the table has one row a way, severity and cell
    dataset, model, simulated : go into the result
    split_by : how the dataset is split, see `frozen.resampled_units`
    cells : AnnData file of the vectors of the dataset, from which locations are learned where the model says none
    sampled_cells : how many cells are changed
    bootstraps, seed : of the resamples of genes or antibodies; `seed` is also that of gains and noise
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    store = CropStore(crops)
    rows, which = sample_held_out(store.obs, sampled_cells, fewest=LEAST_CELLS)
    obs, images = store.obs.iloc[rows], store.read(rows)
    store.close()
    if len(rows) < LEAST_CELLS:
        return write_result(not_run(f"needs {LEAST_CELLS} cells", **names), out_json, out_parquet)
    whole, said = embed(embedder, images, obs)
    probe = fit_probe(cells) if said is None and cells is not None else None
    table = disturbed_table(embedder, images, obs, whole, said, probe, seed=seed)
    drawn = frozen.units_or_fields(obs, by=split_by)
    table["unit"] = np.tile(drawn.to_numpy(str), len(table) // len(obs))
    units = np.unique(table["unit"])
    metrics: list[Metric] = []
    replicates: list[float] = []
    chance = {"same_cell": 1 / len(rows), "cosine": 0.0, "flipped": None}
    for name, part in [("", table), *((f"{way}_", of) for way, of in table.groupby("way", sort=False))]:
        for measure in MEASURES:
            if part[measure].isna().all():
                continue
            by_unit = part.groupby("unit")[measure].mean().reindex(units).to_numpy(float)
            bounds = (-1.0 if measure == "cosine" else 0.0, 1.0)
            found = bootstrap_mean(by_unit, bootstraps=bootstraps, seed=seed, bounds=bounds)
            metrics.append(as_metric(name + measure, found, chance=chance[measure], n=len(units), unit=str(drawn.name)))
            replicates = replicates or kept(found)
    by_severity = table.groupby(["way", "severity"], sort=False)[list(MEASURES)].mean().reset_index()
    result = Result(
        **names,
        metrics=metrics,
        replicates={HEADLINE: replicates},
        units_key=units_key(units),
        settings={
            "task": "vectors of changed cells against the unchanged ones, centred; ten ways at four severities",
            "cells": which,
            "severities": {name: list(values) for name, values in SEVERITIES.items()},
            "locations_by": "the model" if said is not None else "ridge regression" if probe is not None else "none",
            "interval": f"{LEVEL:.0%}, standard error of {bootstraps} bootstrap resamples of {plural(str(drawn.name))}",
            "seed": seed,
        },
        details={"by_severity": by_severity.to_dict("records")},
    )
    return write_result(result, out_json, out_parquet, table)


def disturbed_table(
    embedder: Embedder,
    images: NDArray[Any],
    obs: pd.DataFrame,
    whole: NDArray[np.floating],
    said: NDArray[np.int_] | None,
    probe: Probe | None,
    *,
    seed: int,
) -> pd.DataFrame:
    """A row a way, severity and cell: cell_id and `MEASURES`; nan for `flipped` where nothing says locations."""
    centre = whole.mean(axis=0)
    own = _unit(whole - centre)
    before = said if said is not None else probe.calls(whole) if probe is not None else None
    tables = []
    for way, severities in SEVERITIES.items():
        for severity in severities:
            vectors, calls = embed(embedder, disturb(images, way, severity, seed=seed), obs)
            if calls is None and probe is not None:
                calls = probe.calls(vectors)
            cosine = _unit(vectors - centre) @ own.T
            right = np.arange(len(cosine))
            # Of equally near vectors none is the nearest: a model that sees nothing finds nobody.
            found = cosine[right, right] > np.where(np.eye(len(cosine), dtype=bool), -np.inf, cosine).max(axis=1)
            flipped = np.full(len(cosine), np.nan) if before is None or calls is None else calls != before
            tables.append(
                pd.DataFrame(
                    {
                        "way": way,
                        "severity": float(severity),
                        "cell_id": obs.index.to_numpy(str),
                        "same_cell": found.astype(float),
                        "cosine": cosine[right, right],
                        "flipped": np.asarray(flipped, float),
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def embed(
    embedder: Embedder, images: NDArray[Any], obs: pd.DataFrame
) -> tuple[NDArray[np.floating], NDArray[np.int_] | None]:
    """Vectors of cells, and the most likely location of each where the model says any."""
    vectors, calls = [], []
    for start in range(0, len(images), BATCH):
        found = embedder.embed(images[start : start + BATCH], obs.iloc[start : start + BATCH])
        vectors.append(found.vectors)
        if PROBABILITIES in found.more:
            calls.append(found.more[PROBABILITIES].argmax(axis=1))
    return np.concatenate(vectors).astype(float), np.concatenate(calls) if calls else None


class Probe:
    """A ridge regression from vectors to locations."""

    def __init__(self, features: NDArray[np.floating], truth: NDArray[np.floating]) -> None:
        from sklearn.linear_model import Ridge

        self._mean, spread = features.mean(axis=0), features.std(axis=0)
        self._spread = np.where(spread > 0, spread, 1)
        self._fitted = Ridge(alpha=RIDGE * len(features) / 100).fit(self._scaled(features), truth)

    def _scaled(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        return (features - self._mean) / self._spread

    def calls(self, features: NDArray[np.floating]) -> NDArray[np.int_]:
        """Number of the most likely location of each cell, (N,)."""
        return np.asarray(self._fitted.predict(self._scaled(features)).argmax(axis=1))


def fit_probe(path: str | Path) -> Probe | None:
    """Learn locations from training cells (of all cells where there is no split); None with fewer than two locations.

    Parameters
    ----------
    path : AnnData file of vectors, of which no more than `PROBE_CELLS` are read
    """
    cells = frozen.read_cells(path, choose=_probe_cells)
    sets = [set(names_in(label)) for label in cells.column("locations")]
    names = sorted(set().union(*sets))
    if len(names) < 2:
        return None
    truth = np.array([[name in some for name in names] for some in sets], float)
    return Probe(cells.features.astype(float), truth)


def _probe_cells(obs: pd.DataFrame) -> NDArray[np.int64]:
    """Rows of training cells with locations, in rising order."""
    known = frozen.text_of(obs, "locations").notna().to_numpy()
    train = (frozen.text_of(obs, "split") == "train").to_numpy()
    rows = np.flatnonzero(known & train if train.any() else known)
    return rows[np.sort(sample_cells(obs.iloc[rows], PROBE_CELLS))]


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
