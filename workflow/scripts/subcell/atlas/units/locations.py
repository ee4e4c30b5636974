"""From probabilities of cells to the locations of proteins."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from anndata.io import read_elem
from h5py import File

from subcell.atlas.units.units import Unit, aggregate
from subcell.embedding.models import PROBABILITIES, PROBABILITIES_SD
from subcell.errors import SubcellError
from subcell.tables import write_table

COLUMNS = ("unit", "location", "probability", "sd", "n_cells")


def predict_locations(cells: str | Path, out_tsv: str | Path, *, unit: Unit = "gene") -> None:
    """Average the locations that a model says of cells over the cells of each unit.

    Parameters
    ----------
    cells : AnnData file of vectors; obsm["probabilities"] (N, classes), uns["location_classes"], and, of several
        classifiers, obsm["probabilities_sd"]
    out_tsv : table to write: unit, location, probability (mean over cells; classes are not exclusive, so they do not sum to
        1), sd (over classifiers, root mean square over cells: the classifiers' disagreement on a single cell, an upper bound
        of that on the mean; empty for a single classifier), n_cells. Sorted by unit, then falling probability. Without rows
        where the model says no locations or no cell has the unit.
    unit : see `subcell.atlas.units.units.aggregate`

    Raises
    ------
    SubcellError : the file is missing or damaged
    """
    try:
        with File(cells, "r") as file:
            obs = read_elem(file["obs"])
            known = f"obsm/{PROBABILITIES}" in file
            probabilities = file[f"obsm/{PROBABILITIES}"][:] if known else np.zeros((len(obs), 0), np.float32)
            spread = file[f"obsm/{PROBABILITIES_SD}"][:] if f"obsm/{PROBABILITIES_SD}" in file else None
            names = [str(name) for name in read_elem(file["uns"]).get("location_classes", [])] if known else []
    except (OSError, KeyError) as problem:
        raise SubcellError(f"{cells}: not a file of vectors ({problem}); delete it and embed again") from None
    if len(names) != probabilities.shape[1]:
        names = [f"class {number}" for number in range(probabilities.shape[1])]
    means = aggregate(anndata.AnnData(probabilities, obs=obs), unit)
    deviation = np.full(means.shape, np.nan)
    if spread is not None:
        deviation = np.sqrt(aggregate(anndata.AnnData(spread**2, obs=obs), unit).X)
    table = pd.DataFrame(
        {
            "unit": np.repeat(means.obs_names.to_numpy(object), len(names)),
            "location": np.tile(np.array(names, object), means.n_obs),
            "probability": np.asarray(means.X).ravel(),
            "sd": deviation.ravel(),
            "n_cells": np.repeat(means.obs["n_cells"].to_numpy(int), len(names)),
        },
        columns=list(COLUMNS),
    )
    table = table.sort_values(["unit", "probability"], ascending=[True, False], kind="stable")
    write_table(table, out_tsv, float_format="%.5g")
