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
