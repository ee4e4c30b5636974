"""A few cells of a dataset that do not depend on its shards."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def sample_cells(obs: pd.DataFrame, number: int) -> NDArray[np.int64]:
    """Row numbers of cells chosen by a hash of their id, in the order of the hash.

    Parameters
    ----------
    obs : (N, ...) index cell_id
    number : at most this many
    """
    keys = [hashlib.sha256(str(cell).encode()).digest() for cell in obs.index]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__)[:number], np.int64)


def sample_held_out(obs: pd.DataFrame, number: int, *, fewest: int) -> tuple[NDArray[np.int64], str]:
    """As `sample_cells`, but of the test part, which no network was trained on.

    Parameters
    ----------
    fewest : with fewer cells held out all parts are sampled

    Returns
    -------
    rows : in rising order
    which : these cells in words
    """
    test = np.flatnonzero(obs["split"] == "test") if "split" in obs else np.zeros(0, np.int64)
    held_out = len(test) >= fewest
    pool = test if held_out else np.arange(len(obs))
    rows = np.sort(pool[sample_cells(obs.iloc[pool], number)])
    which = "held-out ones" if held_out else "of all, as too few are held out"
    return rows, f"{len(rows)} {which}; chosen by a hash of their id"
