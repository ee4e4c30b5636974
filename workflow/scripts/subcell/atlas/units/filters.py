"""Which cells a map is made of: lines, reliability, one gene an antibody, one antibody a gene."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.errors import ConfigError
from subcell.names import names_in

SYNONYMS = {
    "gene": "gene_names",
    "ensembl_id": "ensembl_ids",
    "cell_line": "atlas_name",
    "plate": "if_plate_id",
    "well": "position",
    "site": "sample",
    "reliability": "gene_reliability",
    "image_width_px": "image_width",
}
"""Our column: its name in the Human Protein Atlas's own tables, and in the table of vectors that SubCell released."""

RELIABILITY = ("Enhanced", "Supported", "Approved", "Uncertain")
"""The Human Protein Atlas's grades of evidence, the best first."""

WIDE_IMAGE_PX = 2048
"""Width of the images of one of the Atlas's two microscopes; the other's are narrower."""


def name_columns(obs: pd.DataFrame) -> pd.DataFrame:
    """Give a table of cells our names where it has others, with `field_id` and `microscope` filled in.

    Parameters
    ----------
    obs : table of cells in our columns or in the Atlas's (`SYNONYMS`); "," between locations, genes or grades becomes
        ";", and grades get the capital of `RELIABILITY`, which the Atlas writes in some of its files and not in others

    Returns
    -------
    a table with the same rows; `microscope` is `batch` where there is one, else told by the width of the images
    """
    obs = obs.rename(columns={old: new for new, old in SYNONYMS.items() if old in obs and new not in obs})
    for column in ("locations", "gene", "ensembl_id"):
        if column in obs:
            obs[column] = _renamed(obs[column], lambda text: text.replace(",", ";"))
    if "reliability" in obs:
        obs["reliability"] = _renamed(
            obs["reliability"], lambda text: ";".join(grade.capitalize() for grade in grades_of(text))
        )
    for column in ("plate", "site"):
        if column in obs and not isinstance(obs[column].dtype, pd.CategoricalDtype):
            obs[column] = obs[column].map(str, na_action="ignore")
    if "field_id" not in obs:
        parts = [obs[name].astype(str) for name in ("plate", "well", "site") if name in obs]
        obs["field_id"] = parts[0].str.cat(parts[1:], sep="_") if parts else obs.index.astype(str)
    if "image_width_px" in obs:
        obs["image_width_px"] = pd.to_numeric(obs["image_width_px"].astype(object)).astype("Int64")
    if "microscope" not in obs:
        if "batch" in obs and obs["batch"].notna().any():
            obs["microscope"] = obs["batch"]
        elif "image_width_px" in obs:
            width = obs["image_width_px"].to_numpy(float, na_value=np.nan)
            microscope = np.full(len(obs), None, object)
            microscope[width >= WIDE_IMAGE_PX], microscope[width < WIDE_IMAGE_PX] = "M1", "M2"
            obs["microscope"] = microscope
    return obs


def grades_of(text: object) -> list[str]:
    """Grades that a cell's antibody has, one for each of its genes at most; [] where there is none."""
    return names_in(text.replace(",", ";")) if isinstance(text, str) else []


def _renamed(column: pd.Series, change: object) -> pd.Series:
    """Change text value by value, a category once."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        new = {value: change(str(value)) for value in column.cat.categories}  # type: ignore[operator]
        return column.astype(object).map(new, na_action="ignore").astype("category")
    return column.map(lambda value: change(value) if isinstance(value, str) else value)  # type: ignore[operator]


def choose_cells(
    obs: pd.DataFrame,
    *,
    cell_lines: Sequence[str] | None = None,
    require_location: bool = False,
    single_gene: bool = False,
    drop_reliability: Sequence[str] = (),
    best_antibody: bool = False,
) -> tuple[NDArray[np.bool_], pd.DataFrame]:
    """Say which cells a map takes, filter after filter, in the order of the paper.

    Parameters
    ----------
    obs : table of cells, as `name_columns` gives it
    cell_lines : lines to keep; all where it is None
    require_location : leave out cells whose antibody has no location
    single_gene : leave out antibodies that bind the products of several genes
    drop_reliability : grades of evidence to leave out, e.g. Uncertain; of several, which an antibody against several
        genes has, one is enough
    best_antibody : of the antibodies of a gene keep the one with the best grade, the worst of several counted; of equal
        ones the one with the most cells, then the first by name

    Returns
    -------
    (N,) bool, and a table with columns step, cells, genes: what is left after each filter

    Raises
    ------
    ConfigError : a filter asks for a column that the table lacks, or one other than `cell_lines` leaves no cell
    """
    keep = np.ones(len(obs), bool)
    steps: list[dict[str, object]] = []

    def note(step: str, *, may_be_empty: bool = False) -> None:
        genes = obs.loc[keep, "gene"].nunique() if "gene" in obs else 0
        steps.append({"step": step, "cells": int(keep.sum()), "genes": int(genes)})
        if not keep.any() and len(obs) and not may_be_empty:
            raise ConfigError(f"map.filters: {step} leaves none of {len(obs)} cells; relax the filter")

    note("all cells")
    if cell_lines is not None:
        keep &= _column(obs, "cell_line", "cell_lines").isin(list(cell_lines)).to_numpy()
        # A dataset without the line has no map; the others have.
        note(f"cell lines {', '.join(cell_lines)}", may_be_empty=True)
        if not keep.any():
            return keep, pd.DataFrame(steps)
    if require_location:
        keep &= _is_text(_column(obs, "locations", "require_location"))
        note("with a location")
    if single_gene:
        genes = _column(obs, "gene", "single_gene").astype(object)
        keep &= ~genes.map(lambda gene: isinstance(gene, str) and ";" in gene).to_numpy(bool)
        note("antibodies of one gene")
    if drop_reliability:
        dropped = set(drop_reliability)
        keep &= ~_by_value(_grades(obs), lambda text: not dropped.isdisjoint(grades_of(text))).to_numpy(bool)
        note(f"without {', '.join(drop_reliability)}")
    if best_antibody:
        keep &= _of_the_best_antibody(obs, keep)
        note("best antibody of each gene")
    return keep, pd.DataFrame(steps)


def _column(obs: pd.DataFrame, name: str, setting: str) -> pd.Series:
    if name not in obs or obs[name].isna().all():
        raise ConfigError(f"map.filters.{setting}: the cells have no `{name}`; give it in the sheet or drop the filter")
    return obs[name]


def _grades(obs: pd.DataFrame) -> pd.Series:
    grades = _column(obs, "reliability", "drop_reliability")
    found = {grade for text in grades.dropna().unique() for grade in grades_of(text)}
    if found.isdisjoint(RELIABILITY):
        raise ConfigError(
            f"map.filters: `reliability` of the cells is {', '.join(map(repr, sorted(found)[:5]))}; expected "
            f"{', '.join(RELIABILITY)}; correct it in the sheet or drop the filter"
        )
    return grades


def _rank(text: object) -> int:
    """Place of the worst grade in `RELIABILITY`; behind all where there is none."""
    last = len(RELIABILITY)
    return max((RELIABILITY.index(g) if g in RELIABILITY else last for g in grades_of(text)), default=last)


def _by_value(column: pd.Series, change: Callable[[object], object]) -> pd.Series:
    """`change` of each value, computed once a value."""
    values = column.astype(object)
    return values.map({value: change(value) for value in values.unique()})


def _is_text(column: pd.Series) -> NDArray[np.bool_]:
    return column.astype(object).map(lambda value: isinstance(value, str) and bool(value.strip())).to_numpy(bool)


def _of_the_best_antibody(obs: pd.DataFrame, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    antibody = _column(obs, "antibody", "best_antibody").astype(object)
    gene = _column(obs, "gene", "best_antibody").astype(object)
    if "reliability_rank" in obs:
        rank = pd.to_numeric(obs["reliability_rank"])
    elif "reliability" in obs and obs["reliability"].notna().any():
        rank = _by_value(_grades(obs), _rank)
    else:
        rank = pd.Series(0, index=obs.index)
    table = pd.DataFrame({"gene": gene, "antibody": antibody, "rank": rank.fillna(len(RELIABILITY))})[keep].dropna()
    pairs = table.groupby(["gene", "antibody"], sort=True).agg(rank=("rank", "min"), cells=("rank", "size"))
    ordered = pairs.reset_index().sort_values(
        ["gene", "rank", "cells", "antibody"], ascending=[True, True, False, True]
    )
    best = ordered.drop_duplicates("gene").set_index("gene")["antibody"]
    return (gene.map(best) == antibody).to_numpy(bool)
