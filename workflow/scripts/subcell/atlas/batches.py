"""Batch correction of cells with Harmony, where it can be told from what is to be mapped."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.errors import ConfigError

FEWEST_CELLS = 30
"""Harmony clusters cells by thirties; fewer cannot be corrected."""

log = logging.getLogger(__name__)


def nested_in(obs: pd.DataFrame, key: str, label: str) -> bool:
    """Whether each value of `key` occurs with one value of `label` only, of which there are several.

    To remove what differs between the values of `key` is then to remove what differs between those of `label`.

    >>> plates = pd.DataFrame({"plate": ["1", "1", "2", "2"], "cell_line": ["A", "A", "B", "B"]})
    >>> nested_in(plates, "plate", "cell_line")
    True
    """
    if label not in obs or obs[key].nunique() < 2:
        return False
    pairs = obs[[key, label]].astype(object).dropna().drop_duplicates()
    return pairs[label].nunique() > 1 and not pairs[key].duplicated().any()


def correct_batches(
    vectors: NDArray[np.float32],
    obs: pd.DataFrame,
    keys: Sequence[str],
    *,
    label: Sequence[str],
    within_line: bool = False,
    seed: int = 0,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Remove differences between plates or microscopes with Harmony (Korsunsky et al. 2019, harmonypy).

    Parameters
    ----------
    vectors : (N, features)
    obs : (N, ...) table of the same cells
    keys : columns whose values are batches
    label : columns that name what is mapped, e.g. `gene`; a key must not be nested in them
    within_line : correct each cell line by itself; lines with one batch stay as they are
    seed, threads : of Harmony; its results do not depend on threads

    Returns
    -------
    (N, features) corrected vectors

    Raises
    ------
    ConfigError : a key is missing, or nested in the label or in the cell line, with the reason
    """
    for key in keys:
        if key not in obs or obs[key].isna().any():
            raise ConfigError(f"map.batches: the cells have no {key}, or some lack it; give it in the sheet or set []")
    if not within_line:
        _refuse_nested(obs, keys, [*label, "cell_line"])
        return _harmonise(vectors, obs, keys, seed, threads)
    if "cell_line" not in obs:
        raise ConfigError("map.batches_within_line: the cells have no cell_line")
    corrected = np.array(vectors, np.float32)
    lines = obs["cell_line"].astype(object).fillna("").to_numpy(str)
    for line in np.unique(lines):
        rows = np.flatnonzero(lines == line)
        _refuse_nested(obs.iloc[rows], keys, label)
        corrected[rows] = _harmonise(corrected[rows], obs.iloc[rows], keys, seed, threads)
    return corrected


def _refuse_nested(obs: pd.DataFrame, keys: Sequence[str], labels: Sequence[str]) -> None:
    for key in keys:
        for label in labels:
            if nested_in(obs, key, label):
                way = (
                    "map one line (`filters: {cell_lines: [...]}`) or set `batches_within_line: true`"
                    if label == "cell_line"
                    else "set `batches: []`"
                )
                raise ConfigError(
                    f"map.batches: {key} is nested in {label}: each of its {obs[key].nunique()} values holds one {label} "
                    f"only, so Harmony would remove the differences between {label}s with those of {key}; {way}"
                )


def _harmonise(
    vectors: NDArray[np.float32], obs: pd.DataFrame, keys: Sequence[str], seed: int, threads: int
) -> NDArray[np.float32]:
    varying = [key for key in keys if obs[key].nunique() > 1]
    if not varying or len(obs) < FEWEST_CELLS:
        log.info("Harmony: %d cells, one batch; left as they are", len(obs))
        return np.asarray(vectors, np.float32)
    import harmonypy

    logging.getLogger("harmonypy").setLevel(logging.WARNING)
    meta = pd.DataFrame({key: obs[key].astype(str).to_numpy() for key in varying})
    log.info("Harmony: %d cells by %s", len(obs), ", ".join(varying))
    found = harmonypy.run_harmony(
        np.asarray(vectors, np.float64), meta, varying, random_state=seed, ncores=threads, verbose=False
    )
    result = np.asarray(found.Z_corr, np.float32)
    return result if result.shape == np.shape(vectors) else np.ascontiguousarray(result.T)
