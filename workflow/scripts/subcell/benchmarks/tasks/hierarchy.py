"""Hierarchy: whether locations that belong together in the cell lie together among the vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.inputs.labels import groups_of
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.statistics.bootstrap import bootstrap, units_key
from subcell.benchmarks.statistics.mantel import mantel
from subcell.benchmarks.statistics.result import Metric, Result, kept, not_run, write_result
from subcell.names import plural

BENCHMARK = "hierarchy"
UNIT = "antibody"
HEADLINE = "mantel_r"
FINE, COARSE = "grouping_2", "grouping_3"
FEWEST_LOCATIONS = 4
COMPONENTS = 10
ORDERS = 9999


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
    """Compare similarities between locations with HPA's hierarchy of them, by Mantel's test.

    Cells of proteins with a single location are averaged by antibody, and these by location; locations are standardised,
    brought to ten principal components, and compared by cosine. In the hierarchy two locations are alike (1) in the same
    fine group, half alike (0.5) in the same coarse group only, else not (0). The antibodies of all sides of the split
    count, but training ones only where too few others have a single location (`settings["cells"]` says which).

    Parameters and result are those of `localization.run`; obs needs `locations` and `antibody` or `gene`. The p value of
    Mantel's test stands in `details`.
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    table = frozen.read_cells(cells)
    of_unit = frozen.resampled_units(table.obs, by=split_by)
    locations = table.column("locations")
    if locations.isna().all() or of_unit is None:
        reason = "needs locations" if locations.isna().all() else "needs antibody or gene"
        return write_result(not_run(reason, **names), out_json, out_parquet)
    unit = str(of_unit.name)
    single = (locations.notna() & ~locations.astype(str).str.contains(";") & of_unit.notna()).to_numpy()
    # One that lies in one place in a line and in another elsewhere stands for neither.
    single &= locations[single].groupby(of_unit[single]).nunique().reindex(of_unit).eq(1).to_numpy()
    fine, coarse = (groups_of(locations[single].unique(), grouping) for grouping in (FINE, COARSE))
    held_out = single & (table.column("split") == "test").to_numpy()
    chosen, which = held_out, "those of held-out proteins"
    scored = scored_locations(locations[chosen], of_unit[chosen], coarse, min_test_antibodies)
    if not _tells(truth := hierarchy_of(scored, fine, coarse)):
        chosen, which = single, "those of all proteins, also of those that trained a network: too few are held out"
        scored = scored_locations(locations[chosen], of_unit[chosen], coarse, min_test_antibodies)
        truth = hierarchy_of(scored, fine, coarse)
    if not _tells(truth):
        reason = (
            f"needs {FEWEST_LOCATIONS} locations, some of one group, with {min_test_antibodies} {plural(unit)} that have no "
            f"other location (found {len(scored)})"
        )
        return write_result(not_run(reason, **names), out_json, out_parquet)
    chosen = chosen & locations.isin(scored).to_numpy()
    means, units, of_location = means_of_units(table.features[chosen], of_unit[chosen], locations[chosen], scored)

    def correlation(counts: NDArray[np.int64]) -> NDArray[np.floating]:
        above = np.triu_indices(len(scored), 1)
        return np.array(
            [_pearson(similarity_of(means, of_location, row, len(scored))[above], truth[above]) for row in counts]
        )

    found = bootstrap(correlation, len(units), bootstraps=bootstraps, seed=seed, bounds=(-1, 1))
    similarity = similarity_of(means, of_location, np.ones(len(units)), len(scored))
    test = mantel(similarity, truth, orders=ORDERS, seed=seed)
    result = Result(
        **names,
        metrics=[Metric(HEADLINE, test.r, *test.interval(), 0.0, len(scored), 0, "location")],
        replicates={HEADLINE: kept(found)},
        units_key=units_key(units),
        settings={
            "task": "similarity of the mean vectors of locations, against HPA's hierarchy of locations",
            "cells": which,
            "locations": scored,
            "hierarchy": f"1 in the same {FINE.replace('_', ' ')}, 0.5 in the same {COARSE.replace('_', ' ')}, else 0",
            "components": components_of(len(scored)),
            "orders": f"all {test.orders}" if test.exact else test.orders,
            "interval": f"95%, from the spread over orders of the locations; models are compared in {bootstraps} bootstrap "
            f"resamples of {plural(unit)}",
            "seed": seed,
        },
        details={"p_value": test.p, "exact": test.exact, "cells": int(chosen.sum()), "units": len(units)},
    )
    one, other = np.triu_indices(len(scored), 1)
    pairs = pd.DataFrame(
        {
            "unit": [f"{scored[i]} | {scored[j]}" for i, j in zip(one, other, strict=True)],
            "similarity": similarity[one, other],
            "hierarchy": truth[one, other],
        }
    )
    return write_result(result, out_json, out_parquet, pairs)


def scored_locations(locations: pd.Series, units: pd.Series, groups: dict[str, str], fewest: int) -> list[str]:
    """Locations that have a group and enough proteins without any other location."""
    counts = units.groupby(locations.to_numpy(object)).nunique()
    return sorted(str(name) for name, count in counts.items() if count >= fewest and name in groups)


def hierarchy_of(locations: list[str], fine: dict[str, str], coarse: dict[str, str]) -> NDArray[np.float64]:
    """How alike locations are in the hierarchy, (L, L)."""
    table = np.zeros((len(locations), len(locations)))
    for i, one in enumerate(locations):
        for j, other in enumerate(locations):
            if one == other or (one in fine and fine.get(one) == fine.get(other)):
                table[i, j] = 1
            elif coarse[one] == coarse[other]:
                table[i, j] = 0.5
    return table


def _tells(hierarchy: NDArray[np.float64]) -> bool:
    """Whether there are locations enough, of which some are more alike than others."""
    return len(hierarchy) >= FEWEST_LOCATIONS and bool(np.ptp(hierarchy[np.triu_indices(len(hierarchy), 1)]) > 0)


def means_of_units(
    features: NDArray[np.float32], units: pd.Series, locations: pd.Series, scored: list[str]
) -> tuple[NDArray[np.float64], list[str], NDArray[np.int_]]:
    """Mean vector of each unit, (U, D), names in sorted order, and the number of its location."""
    names, codes = np.unique(units.to_numpy(str), return_inverse=True)
    place = np.zeros(len(names), int)
    place[codes] = pd.Index(scored).get_indexer(pd.Index(locations.to_numpy(object)))
    return frozen.group_means(features, codes, len(names)), list(map(str, names)), place


def similarity_of(
    means: NDArray[np.floating], location: NDArray[np.int_], counts: NDArray[Any], many: int
) -> NDArray[np.floating]:
    """Cosine between standardised locations in their principal components, (L, L); NaN for a location that was not drawn.

    Half as many components as locations, at most ten: with all of them every location would be as far from every other.
    """
    weights = np.zeros((many, len(means)))
    weights[location, np.arange(len(means))] = counts
    drawn = weights.sum(axis=1)
    table = np.full((many, many), np.nan)
    there = np.flatnonzero(drawn > 0)
    centres = weights[there] @ means / drawn[there, None]
    spread = centres.std(axis=0)
    scaled = (centres - centres.mean(axis=0)) / np.where(spread > 0, spread, 1)
    left, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    parts = (left * sizes)[:, : components_of(many)]
    length = np.linalg.norm(parts, axis=1, keepdims=True)
    parts = parts / np.where(length > 0, length, 1)
    table[np.ix_(there, there)] = parts @ parts.T
    return table


def components_of(locations: int) -> int:
    """Principal components in which locations are compared."""
    return max(2, min(COMPONENTS, locations // 2))


def perfect_features(obs: pd.DataFrame) -> NDArray[np.float32]:
    """The groups of a cell's locations, (N, fine and coarse groups): 1 where a cell has it."""
    sets = [[part.strip() for part in str(text or "").split(";")] for text in obs["locations"].astype(object)]
    columns = []
    for grouping in (FINE, COARSE):
        groups = groups_of({name for names in sets for name in names}, grouping)
        columns += [
            [any(groups.get(name) == group for name in names) for names in sets]
            for group in sorted(set(groups.values()))
        ]
    return np.array(columns, np.float32).T


def _pearson(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    known = np.isfinite(one)
    if known.sum() < 3 or np.ptp(one[known]) == 0 or np.ptp(other[known]) == 0:
        return float("nan")
    return float(np.corrcoef(one[known], other[known])[0, 1])
