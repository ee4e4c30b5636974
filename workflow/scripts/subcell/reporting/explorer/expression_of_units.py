"""How much of each unit of a map its cell lines express."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.inputs.expression import read_expression, same_lines


def expression_of_units(path: str | Path, obs: pd.DataFrame, lines: Iterable[str]) -> NDArray[np.float64] | None:
    """The mean over some cell lines of each unit's expression.

    Parameters
    ----------
    path : see `subcell.benchmarks.inputs.expression.read_expression`
    obs : a row a unit; genes are its `ensembl_id`, its `gene` or its name, whichever the table knows most of
    lines : cell lines; those that the table lacks are left out

    Returns
    -------
    (units,) log2(TPM + 1), NaN where it is not known; None where no line or no unit is known
    """
    known = read_expression(path)
    named = same_lines(lines, known.index)
    means = known.loc[sorted(set(named.values()))].mean()
    keys = [pd.Series(obs.index, obs.index), *(obs[name] for name in ("gene", "ensembl_id") if name in obs)]
    values = max((key.map(means).to_numpy(float) for key in keys), key=lambda found: int(np.isfinite(found).sum()))
    return values if np.isfinite(values).any() else None
