"""Locations as classes: the released 31, the 19 of the Kaggle challenge, groups, and tables of labels of single cells."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from subcell.benchmarks.guards.leakage import any_of
from subcell.benchmarks.probes.frozen import Cells
from subcell.catalog.values import read_value
from subcell.errors import SubcellError

CLASSES_FILE = Path(__file__).parents[5] / "resources" / "location_classes.tsv"
GROUPING = "grouping_3"
NOT_LABELS = ("discarded", "unsure")
"""What annotators of single cells write where a cell has no usable label."""


def label_table(labels: Iterable[str]) -> pd.DataFrame:
    """Locations of each cell as a table of bool, a column a location.

    Released SubCell classes come first, in their order, then all others by name.
    """
    sets = [frozenset(name.strip() for name in str(label).split(";") if name.strip()) for label in labels]
    present = set().union(*sets)
    order = [row["location"] for row in released_classes() if row["location"] in present]
    order += sorted(present - set(order))
    return pd.DataFrame({name: np.array([name in names for names in sets], bool) for name in order})


@cache
def released_classes() -> list[dict[str, str]]:
    """The 31 classes of the released SubCell classifiers, in the order of their outputs.

    Returns
    -------
    rows of resources/location_classes.tsv: index, location, kaggle_19 ("1" for the 19 classes of the Kaggle challenge
    on single cells) and the groupings of HPA's locations that SubCell's analysis uses
    """
    with open(CLASSES_FILE, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def kaggle_classes() -> set[str]:
    """The 19 classes of the Kaggle challenge on single cells."""
    return {row["location"] for row in released_classes() if row["kaggle_19"] == "1"}


def groups_of(classes: Iterable[str], grouping: str = GROUPING) -> dict[str, str]:
    """The group of each class, of those that have one; `grouping` is a column of the table of classes."""
    known = {row["location"]: row[grouping] for row in released_classes()}
    return {name: known[name] for name in classes if known.get(name)}


def with_labels_of_cells(cells: Cells, table: str | Path) -> tuple[Cells, dict[str, int]]:
    """Cells with labels that people gave to each of them, as the test set of the Kaggle challenge has them.

    Parameters
    ----------
    cells : all cells of a dataset
    table : csv or tsv with `cell_id` (or `field_id` and `label`, the cell's number) and `locations`, ";" or "|" between
        several. Rows with Discarded or Unsure are left out, and so are cells that are not in the table

    Returns
    -------
    the cells that are left, and how many were left out for which reason

    Raises
    ------
    SubcellError : the table is missing, lacks a column, names a cell twice, or names no cell of the dataset
    """
    labels = _read_labels(table)
    unusable = labels["locations"].str.lower().str.contains("|".join(NOT_LABELS), regex=True)
    ids = pd.Series(cells.obs.index.astype(str))
    known = ids.isin(labels["cell_id"])
    if not known.any():
        raise SubcellError(
            f"{table}: none of its {len(labels)} cells is in the dataset (first: {labels['cell_id'].iloc[0]})"
        )
    of_cell = labels[~unusable].set_index("cell_id")["locations"]
    labelled = ids.isin(of_cell.index)
    kept = labelled.to_numpy()
    rest = cells.kept(kept)
    obs = rest.obs.assign(locations=of_cell.loc[ids[kept]].to_numpy(object), label_level="cell")
    left_out = {
        "not_in_the_table": int((~known).sum()),
        "discarded_or_unsure": int((known & ~labelled).sum()),
    }
    return Cells(rest.features, obs), left_out


def without_antibodies(cells: Cells, antibodies: set[str], *, split: str | None = None) -> tuple[Cells, int]:
    """Cells of other antibodies than these, and how many were left out; with `split`, of that part alone."""
    seen = any_of(cells.column("antibody"), antibodies)
    if split:
        seen &= (cells.column("split") == split).to_numpy()
    return cells.kept(~seen), int(seen.sum())


def lacks_antibodies(cells: Cells, antibodies: set[str], lists: Sequence[str | Path]) -> str:
    """Why no cell can be left out by lists of antibodies, "needs ..."; "" where some can, or where there are no lists."""
    about = cells.column("antibody")
    if not lists or any_of(about, antibodies).any():
        return ""
    if about.isna().all():
        return "needs antibody, by which `seen_antibodies` leaves cells out"
    return (
        f"needs an antibody of {', '.join(map(str, lists))} (`seen_antibodies`): none of the {len(antibodies)} there is in the "
        f"dataset (first there: {min(antibodies, default='none')}, first here: {about.dropna().min()}). Write them alike, or "
        "leave the lists out"
    )


def _read_labels(path: str | Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep=None, engine="python", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as problem:
        raise SubcellError(f"{path}: cannot read the table of labels of cells ({problem})") from None
    if "cell_id" not in table and {"field_id", "label"} <= set(table):
        table["cell_id"] = table["field_id"] + ":" + table["label"]
    missing = {"cell_id", "locations"} - set(table)
    if missing or table.empty:
        raise SubcellError(f"{path}: needs the columns cell_id (or field_id and label) and locations, and a row a cell")
    twice = table["cell_id"][table["cell_id"].duplicated()]
    if len(twice):
        raise SubcellError(f"{path}: cell {twice.iloc[0]} occurs twice (row {twice.index[0] + 2}); leave one of them")
    spelt = [read_value("locations", text.replace("|", ";")) or "" for text in table["locations"]]
    return table.assign(locations=spelt)
