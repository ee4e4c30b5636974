"""Batch correction of cells with Harmony, where it can be told from what is to be mapped."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.atlas.units.units import unit_names
from subcell.errors import ConfigError
from subcell.names import plural

FEWEST_CELLS = 30
"""Harmony clusters cells by thirties; fewer cannot be corrected."""

NEARLY = 0.95
"""Share of the cells from which a batch counts as holding one label, and batches as nested in labels."""

log = logging.getLogger(__name__)


def share_nested(batch: pd.Series, label: pd.Series) -> float:
    """How far batches are nested in labels: of the cells of a label, the share in batches of (nearly) no other label.

    To remove what differs between such batches is to remove what differs between labels. A stray cell or two of another
    label changes that little, so a batch counts as one label's from `NEARLY` of its cells on.

    Parameters
    ----------
    batch, label : (N,) of each cell, missing where not known

    Returns
    -------
    mean of that share over labels; 0 where there is one batch or one label

    >>> share_nested(pd.Series(["1", "1", "2", "2"]), pd.Series(["A", "A", "B", "B"]))
    1.0
    """
    pairs = pd.DataFrame({"batch": batch.to_numpy(object), "label": label.to_numpy(object)}).dropna()
    if pairs["batch"].nunique() < 2 or pairs["label"].nunique() < 2:
        return 0.0
    cells = pairs.value_counts().rename("cells").reset_index()
    of_batch = cells.groupby("batch")["cells"].transform("sum")
    cells["alone"] = cells["cells"].where(cells["cells"] >= NEARLY * of_batch, 0)
    totals = cells.groupby("label")[["cells", "alone"]].sum()
    return float((totals["alone"] / totals["cells"]).mean())


def correct_batches(
    vectors: NDArray[np.float32],
    obs: pd.DataFrame,
    keys: Sequence[str],
    *,
    unit: str,
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
    unit : what is mapped, see `subcell.atlas.units.units`; a key must not be nested in it
    within_line : correct each cell line by itself; lines with one batch stay as they are
    seed, threads : of Harmony; its results do not depend on threads

    Returns
    -------
    (N, features) corrected vectors

    Raises
    ------
    ConfigError : a key is missing, or (nearly) nested in the unit or in the cell line, with the reason
    """
    for key in keys:
        if key not in obs or obs[key].isna().any():
            where = "`batch` (or `image_width` of an imported table)" if key == "microscope" else f"`{key}`"
            raise ConfigError(
                f"map.batches: the cells have no {key}, or some lack it; give {where} in the sheet or set []"
            )
    if not within_line:
        _refuse_nested(obs, keys, unit, within_line=False)
        return _harmonise(vectors, obs, keys, seed, threads)
    if "cell_line" not in obs:
        raise ConfigError("map.batches_within_line: the cells have no cell_line")
    corrected = np.array(vectors, np.float32)
    lines = obs["cell_line"].astype(object).fillna("").to_numpy(str)
    for line in np.unique(lines):
        rows = np.flatnonzero(lines == line)
        _refuse_nested(obs.iloc[rows], keys, unit, within_line=True)
        corrected[rows] = _harmonise(corrected[rows], obs.iloc[rows], keys, seed, threads)
    return corrected


def _refuse_nested(obs: pd.DataFrame, keys: Sequence[str], unit: str, *, within_line: bool) -> None:
    labels = {unit: unit_names(obs, unit)}
    if not within_line and "cell_line" in obs:
        labels["cell_line"] = obs["cell_line"]
    for key in keys:
        for label, values in labels.items():
            share = share_nested(obs[key], values)
            if share >= NEARLY:
                way = (
                    "map one line (`filters: {cell_lines: [...]}`) or set `batches_within_line: true`"
                    if label == "cell_line"
                    else "set `batches: []`"
                )
                raise ConfigError(
                    f"map.batches: {key} is nested in {label}: {_percent(share)} of the cells of a {label} are of a {key} "
                    f"that holds (nearly) no other, so Harmony would remove the differences between {plural(label)} with those "
                    f"between the {obs[key].nunique()} {key}s; {way}"
                )


def _percent(share: float) -> str:
    """As a percentage, 100 % only where it is all."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"


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
