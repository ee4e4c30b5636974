"""Vectors that say a name and nothing else, for the control rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST = 512
"""Numbers of a vector: a column for each of fifteen thousand genes would not fit into memory with a million cells."""


def name_codes(names: pd.Series, rng: np.random.Generator | None = None) -> NDArray[np.float32]:
    """A vector a name, (N, at most `MOST`), zeros without a name.

    Up to `MOST` names have a column each, 1 where it is theirs. Of more, each has random numbers, and no two look alike.

    Parameters
    ----------
    names : (N,)
    rng : of these numbers; always the same ones where it is None
    """
    rng = np.random.default_rng(0) if rng is None else rng
    numbers, levels = pd.factorize(names)
    few = len(levels) <= MOST
    codes = np.eye(len(levels)) if few else rng.standard_normal((len(levels), MOST))
    # Row -1, the last, is of cells without a name.
    return np.concatenate([codes, np.zeros((1, codes.shape[1]))]).astype(np.float32)[numbers]
