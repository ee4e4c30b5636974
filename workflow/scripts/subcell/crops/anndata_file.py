"""AnnData's HDF5 layout, written piece by piece: what is large never has to be in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from subcell.replacing import replacing


@contextmanager
def create_anndata(path: str | Path) -> Iterator[h5py.File]:
    """Open a new AnnData file with empty groups; it gets its name when the `with` block ends without an error."""
    with replacing(path) as to, h5py.File(to, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for group in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            write_elem(file, group, {})
        yield file


def join_tables(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables one below the other; those without rows give columns only where no table has rows.

    An empty column has no type worth keeping, and would turn the numbers below it into objects.
    """
    filled = [table for table in tables if len(table)]
    if filled:
        return pd.concat(filled)
    return tables[0].copy() if tables else pd.DataFrame(index=pd.Index([], dtype=object))


def categories_of_text(obs: pd.DataFrame) -> pd.DataFrame:
    """Turn text columns into categories, the form in which AnnData keeps repeated text and missing values.

    A column without any value has no type that AnnData could write; it becomes text without categories.
    """
    obs = obs.copy()
    for name in obs.columns:
        if obs[name].dtype == object or isinstance(obs[name].dtype, pd.StringDtype):
            text = obs[name].astype(object)
            obs[name] = text.where(text.isna(), text.astype(str)).astype("category")
            if not len(obs[name].cat.categories):
                obs[name] = pd.Categorical.from_codes(np.full(len(obs), -1), categories=pd.Index([], dtype=object))
    return obs


def text_of_categories(obs: pd.DataFrame) -> pd.DataFrame:
    """Turn categories back into plain text with None where there is none, so that shards can be put together."""
    obs = obs.copy()
    for name in obs.columns:
        if isinstance(obs[name].dtype, pd.CategoricalDtype):
            text = obs[name].astype(object)
            obs[name] = text.where(text.notna(), None)
    return obs
