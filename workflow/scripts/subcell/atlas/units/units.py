"""From cells to the units of a map: one vector a gene, antibody, well, compound or field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from subcell.atlas.units.summaries import AVERAGES, Average, Summaries, collect
from subcell.errors import ConfigError
from subcell.names import names_in

UNNAMED = "no enriched term"
"""Name of a cluster without one."""
EVERYTHING = "all"
"""Name of a cluster that holds all units: nothing can be enriched in it."""

KINDS_OF_RUNS = ("seeds", "bootstrap", "held_out")
"""In which the stability of a cluster is measured, a column `stability_KIND` each; see `subcell.atlas.clusters.stability`."""

Unit = Literal["gene", "antibody", "well", "compound", "field"]

COLUMNS: dict[str, tuple[str, ...]] = {
    "gene": ("gene",),
    "antibody": ("antibody",),
    "well": ("plate", "well"),
    "compound": ("compound",),
    "field": ("field_id",),
}
"""Columns of the table of cells that name a unit; wells of different plates share their names."""

OPTIONAL = {"plate"}

LISTED = (
    *("gene", "ensembl_id", "antibody", "cell_line", "compound", "mechanism", "split"),
    *("plate", "microscope", "image_width_px", "reliability"),
)

Blocks = Literal["well", "field"]
"""What a bootstrap draws: cells of one field, or of one well, are not independent of each other."""


def aggregate(cells: AnnData, unit: Unit = "gene", how: Average = "mean") -> AnnData:
    """The units of `summarise`, without what they can be made of again."""
    return summarise(cells.X, cells.obs, unit, how, features=cells.var_names)[0]


def summarise(
    vectors: Any,
    obs: pd.DataFrame,
    unit: Unit = "gene",
    how: Average = "mean",
    *,
    keep: NDArray[np.bool_] | None = None,
    split_lines: bool = False,
    blocks: Blocks = "field",
    min_cells: int = 1,
    features: Any = None,
) -> tuple[AnnData, Summaries]:
    """Summarise cells to one row a unit.

    Parameters
    ----------
    vectors : X (cells, features), in memory or backed by its file
    obs : table of the cells, with `field_id` and the columns of the unit
    unit : what a row of the result is; a well is told by its plate too, where the plate is known
    how : mean (as in the SubCell paper), median, or mean_and_spread over the cells of a unit, feature by feature
    keep : (cells,) cells to take; all where it is None
    split_lines : a row for each cell line of a unit, named "unit @ line"
    blocks : what a bootstrap of the summaries draws
    min_cells : units with fewer cells are left out
    features : names of the columns of X

    Returns
    -------
    X float32 (units, features), units sorted by name. obs: n_cells, n_fields; what is known of the cells (`LISTED`),
    several values joined by ";"; locations, those that at least half of the unit's labelled fields have (else the most
    frequent ones). uns: unit, average, cells_left_out, the number of cells that lack the unit's column or are not kept,
    and units_left_out. Where no cell has the column, there are no rows and uns["not_run"] says so.
    And the `Summaries` of the same units.

    Raises
    ------
    ConfigError : an unknown unit or average
    """
    if unit not in COLUMNS or how not in AVERAGES:
        raise ConfigError(
            f"map: unit {unit!r} and average {how!r}; expected one of {', '.join(COLUMNS)}, and of {', '.join(AVERAGES)}"
        )
    names = unit_names(obs, unit, split_lines=split_lines)
    if keep is not None:
        names = names.where(keep, None)
    about: dict[str, Any] = {"unit": unit, "average": how, "cells_left_out": int(names.isna().sum())}
    if names.isna().all():
        about["not_run"] = f"needs {unit}"
    counts = names.value_counts()
    few = counts.index[counts < min_cells]
    about["units_left_out"] = len(few)
    known = (names.notna() & ~names.isin(few)).to_numpy()
    levels, codes = np.unique(names[known].to_numpy(str), return_inverse=True)
    number = np.full(len(names), -1)
    number[known] = codes
    summaries = collect(vectors, number, _block_numbers(obs, blocks), how)
    described = _describe(obs[known], codes, levels)
    rows = summaries.vectors() if len(levels) else np.zeros((0, vectors.shape[1]), np.float32)
    var = _feature_names(features, vectors.shape[1], rows.shape[1])
    return AnnData(X=rows, obs=described, var=pd.DataFrame(index=var), uns=about), summaries


def _block_numbers(obs: pd.DataFrame, blocks: Blocks) -> NDArray[np.int_]:
    """A number for each well or field; by field where wells are not known."""
    well = unit_names(obs, "well") if blocks == "well" else None
    name = obs["field_id"].astype(object) if well is None or well.isna().all() else well
    codes, _ = pd.factorize(name, sort=True)
    return np.asarray(codes)


def _feature_names(features: Any, cells: int, units: int) -> pd.Index:
    names = [str(name) for name in features] if features is not None else [str(i) for i in range(cells)]
    return pd.Index(names if units == cells else [*names, *(f"{name}_spread" for name in names)], dtype=object)


def unit_names(obs: pd.DataFrame, unit: str, *, split_lines: bool = False) -> pd.Series:
    """Name of each cell's unit, missing where the cell has none."""
    if split_lines and "cell_line" in obs:
        return unit_names(obs, unit) + " @ " + obs["cell_line"].astype(object)
    name = pd.Series("", index=obs.index, dtype=object)
    for column in COLUMNS[unit]:
        if column not in obs or obs[column].isna().all():
            if column in OPTIONAL:
                continue
            return pd.Series(None, index=obs.index, dtype=object)
        part = obs[column].astype(object)
        text = part.map(str, na_action="ignore")
        text = text.where(text.isna() | (text.str.strip() != ""), None)
        if column in OPTIONAL:
            text = text.fillna("")
        name = text if not name.any() else (name + ":" + text)
    return name.where(name.notna(), None)


def _describe(obs: pd.DataFrame, codes: NDArray[np.int_], levels: NDArray[Any]) -> pd.DataFrame:
    """What is known of each unit, from the table of its cells."""
    table = pd.DataFrame(index=pd.Index(levels.astype(object), name="unit"))
    table["n_cells"] = np.bincount(codes, minlength=len(levels))
    fields = pd.DataFrame({"unit": codes, "field": obs["field_id"].to_numpy(object)}).drop_duplicates()
    table["n_fields"] = np.bincount(fields["unit"], minlength=len(levels))
    for column in LISTED:
        if column in obs:
            parts = pd.DataFrame({"unit": codes, "value": obs[column].to_numpy(object)}).dropna().drop_duplicates()
            joined = parts.groupby("unit")["value"].agg(lambda values: ";".join(sorted(map(str, values))))
            table[column] = joined.reindex(range(len(levels))).to_numpy(object)
    if "locations" in obs:
        # A field counts once, however many cells it has: its label is one statement.
        labelled = (
            pd.DataFrame({"unit": codes, "locations": obs["locations"].to_numpy(object)}).loc[fields.index].dropna()
        )
        common = labelled.groupby("unit")["locations"].agg(common_locations)
        table["locations"] = common.reindex(range(len(levels))).to_numpy(object)
    return table


def common_locations(labels: Iterable[str]) -> str | None:
    """Locations that at least half of the labels name; where there is none, the most frequent ones.

    >>> common_locations(["Cytosol;Nucleoli", "Cytosol", "Cytosol"])
    'Cytosol'
    """
    sets = [set(names_in(label)) for label in labels]
    counts = Counter(name for names in sets for name in names)
    if not counts:
        return None
    needed = min(len(sets) / 2, max(counts.values()))
    return ";".join(sorted(name for name, count in counts.items() if count >= needed))
