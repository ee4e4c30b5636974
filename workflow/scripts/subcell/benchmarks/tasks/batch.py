"""Batch: what of a vector belongs to the protein, and what to line, plate, well and field."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.guards.name_codes import name_codes
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.statistics.bootstrap import Estimate, draw_units, interval, units_key
from subcell.benchmarks.statistics.result import Metric, Result, as_metric, kept, not_run, write_result
from subcell.benchmarks.statistics.variance import REST, components, design_of, shares
from subcell.names import plural

BENCHMARK = "batch"
UNIT = "antibody"
DEALT = "field_id"
HEADLINE = "antibody_share"
COMPONENTS = 30
NEIGHBORS = 15
MOST_CELLS = 20_000
"""Cells that are scored, before and after Harmony alike; of more, as many drawn at random."""


def run(
    cells: str | Path,
    *,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    split_by: str = "gene",
    bootstraps: int = 1000,
    min_test_antibodies: int = 3,
    seed: int = 42,
    **_other: Any,
) -> Result:
    """Share of the variance of vectors that goes with the antibody, before and after Harmony.

    The components are those of a nested model (see `variance`): line, plate in line, antibody, well, field,
    and the rest between cells of a field. What a layout cannot separate is one component or none, and is named. Beside it
    the mixing of plates among the nearest neighbours: 1 where the other plates come up as often as they would by chance.
    Both are measured again after Harmony has been told the plates. All is measured on cells of held-out antibodies, and
    Harmony is fitted to these very cells: what it corrects may not be used for held-out scores.

    Parameters and result are those of `localization.run`; obs needs `antibody`, and `plate`, `well` or `field_id`.
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    table = frozen.read_cells(cells)
    part, which = held_out_cells(table, max(3, min_test_antibodies))
    part, of_more = some_cells(part, seed=seed)
    where = {name: part.column(column) for name, column in COLUMNS.items() if part.column(column).notna().all()}
    if "well" in where and "plate" in where:
        where["well"] = where["plate"] + "\n" + where["well"]
    few = part.column("antibody").nunique()
    if few < max(3, min_test_antibodies) or not {"plate", "well", "field"} & set(where):
        reason = "needs antibody, and plate, well or field" if few else "needs antibody"
        return write_result(not_run(reason, **names), out_json, out_parquet)
    design = design_of(where)
    if not any(_of_antibody(name) for name in design.factors):
        return write_result(
            not_run(f"needs antibodies that the layout can tell apart: {design.confounded['antibody']}", **names),
            out_json,
            out_parquet,
        )
    vectors = principal(part.features)
    drawn = frozen.resampled_units(part.obs, by=split_by)
    assert drawn is not None, "antibodies are known"
    unit = str(drawn.name)
    unit_names, units = np.unique(drawn.to_numpy(str), return_inverse=True)
    counted: dict[str, Any] = {"design": design.factors, "units": units, "bootstraps": bootstraps, "seed": seed}
    before = estimates(vectors, **counted)
    n = len(unit_names)
    metrics = _metrics(before, n, unit)
    corrected, how = harmonised(vectors, part, seed=seed)
    mixing = {"plate_mixing": plate_mixing(vectors, part)}
    if corrected is not None:
        metrics += _metrics(estimates(corrected, **counted), n, unit, prefix="harmony_")
        mixing["harmony_plate_mixing"] = plate_mixing(corrected, part)
    for name, value in mixing.items():
        if np.isfinite(value):
            metrics.append(Metric(name, value, None, None, 1.0, n, 0, unit))
    headline = metrics[0].metric
    result = Result(
        **names,
        metrics=metrics,
        replicates={headline: kept(before[next(name for name in before if _of_antibody(name))])},
        units_key=units_key(unit_names),
        settings={
            "task": f"variance of the first {vectors.shape[1]} principal components of the cells by what they share",
            "cells": which + of_more,
            "components": [*design.factors, REST],
            "not_separated": [f"{name}: {why}" for name, why in design.confounded.items()] or ["nothing"],
            "harmony": how,
            "neighbors": NEIGHBORS,
            "interval": f"95%, standard error of {bootstraps} bootstrap resamples of {plural(unit)}",
            "seed": seed,
        },
        details={"cells": len(part.obs), "not_separated": design.confounded},
    )
    rows = pd.DataFrame(
        [{"unit": metric.metric, "value": metric.value, "low": metric.low, "high": metric.high} for metric in metrics]
    )
    return write_result(result, out_json, out_parquet, rows)


def held_out_cells(table: frozen.Cells, fewest: int) -> tuple[frozen.Cells, str]:
    """Cells of held-out antibodies, in words too; those of all antibodies where too few are held out."""
    stained = table.column("antibody").notna()
    test = (stained & (table.column("split") == "test")).to_numpy()
    if table.column("antibody")[test].nunique() >= fewest:
        return table.kept(test), "those of held-out antibodies"
    which = "those of all antibodies, also of those that trained a network: too few are held out"
    return table.kept(stained.to_numpy()), which


def some_cells(part: frozen.Cells, *, seed: int) -> tuple[frozen.Cells, str]:
    """At most `MOST_CELLS`, in their order, and what was left of how many in words; "" where all were kept."""
    many = len(part.obs)
    if many <= MOST_CELLS:
        return part, ""
    rows = np.zeros(many, bool)
    rows[np.random.default_rng(seed).permutation(many)[:MOST_CELLS]] = True
    return part.kept(rows), f"; {MOST_CELLS} of {many}, drawn at random"


COLUMNS = {"line": "cell_line", "plate": "plate", "antibody": "antibody", "well": "well", "field": "field_id"}
"""Factor -> column of obs, the coarser first."""


def principal(features: NDArray[np.float32], most: int = COMPONENTS) -> NDArray[np.float64]:
    """The first principal components of standardised features, (N, at most `most`); constant features say nothing."""
    from scipy.linalg import eigh

    spread = features.std(axis=0, dtype=np.float64)
    varied = features[:, spread > 0]
    scaled = (varied - varied.mean(axis=0, dtype=np.float64)) / spread[spread > 0]
    size = scaled.shape[1]
    if size == 0:
        return np.zeros((len(features), 1))
    _, axes = eigh(scaled.T @ scaled, subset_by_index=[max(0, size - most), size - 1])
    return np.asarray(scaled @ axes[:, ::-1])


def estimates(
    vectors: NDArray[np.floating],
    *,
    design: dict[str, NDArray[np.int_]],
    units: NDArray[np.int_],
    bootstraps: int,
    seed: int,
) -> dict[str, Estimate]:
    """Share of each component, with its interval over units."""
    centred = vectors - vectors.mean(axis=0)
    many = int(units.max()) + 1
    counts = np.concatenate([np.ones((1, many), np.int64), draw_units(many, bootstraps=bootstraps, seed=seed)])
    found = shares(components(centred, design, units, counts), list(design))
    return {
        name: Estimate(float(part[0]), *interval(part[1:], float(part[0]), bounds=(0, 1)), part[1:])
        for name, part in found.items()
    }


def harmonised(
    vectors: NDArray[np.floating], part: frozen.Cells, *, seed: int
) -> tuple[NDArray[np.floating] | None, str]:
    """Vectors after Harmony by plate (Korsunsky et al. 2019), and what was done in words; None where there is nothing to do."""
    plate = part.column("plate")
    if plate.isna().any() or plate.nunique() < 2 or len(plate) < 30:
        return None, "not run: needs two plates and 30 cells"
    import harmonypy

    logging.getLogger("harmonypy").setLevel(logging.ERROR)
    meta = pd.DataFrame({"plate": plate.to_numpy(str)})
    found = harmonypy.run_harmony(vectors, meta, ["plate"], random_state=seed, ncores=1, verbose=False)
    corrected = np.asarray(found.Z_corr, np.float64)
    line = part.column("cell_line")
    nested = line.notna().all() and line.nunique() > 1 and (line.groupby(plate).nunique() == 1).all()
    what = "by plate, fitted to the same cells that are scored"
    if nested:
        what += "; each plate holds one line, so what tells lines apart goes too"
    return (corrected if corrected.shape == vectors.shape else corrected.T), what


def plate_mixing(vectors: NDArray[np.floating], part: frozen.Cells) -> float:
    """How often neighbours come from another plate, relative to chance; NaN without two plates.

    Neighbours from the cell's own well do not count: its plate is theirs.
    """
    plate, well = part.column("plate"), part.column("well")
    if plate.isna().any() or plate.nunique() < 2:
        return float("nan")
    from sklearn.neighbors import NearestNeighbors

    many = len(plate)
    plates = pd.factorize(plate)[0]
    wells = pd.factorize(plate + "\n" + well.fillna(""))[0]
    # Enough that some are left when those of the own well are gone.
    most = min(many, NEIGHBORS + int(np.bincount(wells).max()))
    found = NearestNeighbors(n_neighbors=most, algorithm="brute").fit(vectors).kneighbors(return_distance=False) \
        if most < many else np.tile(np.arange(many), (many, 1))  # fmt: skip
    other_well = wells[found] != wells[:, None]
    nearest = other_well & (np.cumsum(other_well, axis=1) <= NEIGHBORS)
    elsewhere = (nearest & (plates[found] != plates[:, None])).sum() / max(nearest.sum(), 1)
    of_plate, of_well = np.bincount(plates), np.bincount(wells)
    outside = many - of_plate[plates]
    expected = (outside / np.maximum(many - of_well[wells], 1)).mean()
    return float(elsewhere / expected)


def perfect_features(obs: pd.DataFrame) -> NDArray[np.float32]:
    """The antibody of each cell, see `name_codes`."""
    return name_codes(obs["antibody"])


def _metrics(found: dict[str, Estimate], n: int, unit: str, prefix: str = "") -> list[Metric]:
    """The antibody's share first."""
    order = sorted(found, key=lambda name: not _of_antibody(name))
    return [
        as_metric(f"{prefix}{name.replace(' = ', '_and_')}_share", found[name], chance=0.0 if _of_antibody(name) else None,
                  n=n, unit=unit)
        for name in order
    ]  # fmt: skip


def _of_antibody(component: str) -> bool:
    return UNIT in component.split(" = ")
