"""From cells to the units of a map: one mean or median vector a gene, antibody, well, compound or field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from subcell.errors import ConfigError

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

LISTED = ("gene", "antibody", "cell_line", "compound", "mechanism", "split")

BLOCK_BYTES = 2**27


def aggregate(cells: AnnData, unit: Unit = "gene", how: Literal["mean", "median"] = "mean") -> AnnData:
    """Summarise cells to one row a unit.

    Parameters
    ----------
    cells : X (cells, features), in memory or backed by its file; obs with `field_id` and the columns of the unit
    unit : what a row of the result is; a well is told by its plate too, where the plate is known
    how : mean (as in the SubCell paper) or median over the cells of a unit, feature by feature

    Returns
    -------
    X float32 (units, features), units sorted by name. obs: n_cells, n_fields; gene, antibody, cell_line, compound,
    mechanism and split as far as the cells have them, several values joined by ";"; locations, those that at least
    half of the unit's labelled fields have (else the most frequent ones). uns: unit, average, and cells_left_out, the
    number of cells that lack the unit's column. Where no cell has it, there are no rows and uns["not_run"] says so.

    Raises
    ------
    ConfigError : an unknown unit or average
    """
    if unit not in COLUMNS or how not in ("mean", "median"):
        raise ConfigError(
            f"map: unit {unit!r} and average {how!r}; expected one of {', '.join(COLUMNS)}, mean or median"
        )
    names = _unit_names(cells.obs, unit)
    known = names.notna().to_numpy()
    about: dict[str, Any] = {"unit": unit, "average": how, "cells_left_out": int((~known).sum())}
    if not known.any():
        about["not_run"] = f"needs {unit}"
    levels, codes = np.unique(names[known].to_numpy(str), return_inverse=True)
    number = np.full(len(names), -1)
    number[known] = codes
    summarise = _means if how == "mean" else _medians
    obs = _describe(cells.obs[known], codes, levels)
    return AnnData(X=summarise(cells, number, len(levels)), obs=obs, var=pd.DataFrame(index=cells.var_names), uns=about)


def _unit_names(obs: pd.DataFrame, unit: str) -> pd.Series:
    """Name of each cell's unit, missing where the cell has none."""
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


def _means(cells: AnnData, number: NDArray[np.int_], units: int) -> NDArray[np.float32]:
    """Sums in float64, block by block, so that a file larger than memory can be averaged."""
    sums = np.zeros((units, cells.n_vars))
    block = max(1, BLOCK_BYTES // (8 * max(1, cells.n_vars)))
    for start in range(0, cells.n_obs, block):
        rows = number[start : start + block]
        here = np.flatnonzero(rows >= 0)
        indicator = sparse.csr_array((np.ones(len(here)), (rows[here], here)), shape=(units, len(rows)))
        sums += indicator @ np.asarray(cells.X[start : start + block], dtype=np.float64)
    counts = np.bincount(number[number >= 0], minlength=units)
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)


def _medians(cells: AnnData, number: NDArray[np.int_], units: int) -> NDArray[np.float32]:
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(units + 1))
    result = np.zeros((units, cells.n_vars), np.float32)
    for row in range(units):
        members = np.sort(order[starts[row] : starts[row + 1]])
        result[row] = np.median(np.asarray(cells.X[members], dtype=np.float64), axis=0)
    return result


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
    sets = [set(split_locations(label)) for label in labels]
    counts = Counter(name for names in sets for name in names)
    if not counts:
        return None
    needed = min(len(sets) / 2, max(counts.values()))
    return ";".join(sorted(name for name, count in counts.items() if count >= needed))


def split_locations(label: Any) -> list[str]:
    """Locations named by a label, ";" between them; [] for a missing one."""
    if not isinstance(label, str):
        return []
    return [name.strip() for name in label.split(";") if name.strip()]
