"""Profiles of wells: cells averaged, plates made alike, control wells made round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.probes.frozen import Cells

CORRELATION = 0.9
"""Of two features that correlate more, one is left out."""

LEAST_CONTROLS = 3
"""Control wells that each plate needs, to be scaled on them."""

ABOUT = ("plate", "well", "compound", "dose", "control", "mechanism", "cell_line")


@dataclass(frozen=True)
class Processing:
    """How cells become profiles of wells.

    Attributes
    ----------
    average : over the cells of a field; fields are then averaged
    scale : of each feature of a plate: mean and deviation, or median and median deviation, see `scale_plates`
    select : leave out features without spread, and those that repeat another
    sphere : rotate and stretch so that control wells have no direction in which they differ most: of features as they are
        (`covariance`, ZCA) or each by its deviation first (`correlation`, ZCA-cor). PCA and PCA-cor are rotations of these,
        which no cosine notices
    """

    average: Literal["mean", "median"] = "mean"
    scale: Literal["standard", "robust"] = "robust"
    select: bool = True
    sphere: Literal["none", "covariance", "correlation"] = "correlation"

    @property
    def words(self) -> str:
        """For a table."""
        return ", ".join(f"{name} {str(value).lower()}" for name, value in asdict(self).items())


def grid() -> Iterator[Processing]:
    """All ways to process, 24."""
    for average, scale, select, sphere in product(
        ("mean", "median"), ("standard", "robust"), (False, True), ("none", "covariance", "correlation")
    ):
        yield Processing(average, scale, select, sphere)  # type: ignore[arg-type]


@dataclass(frozen=True)
class WellProfiles:
    """Profiles of wells.

    Attributes
    ----------
    vectors : (W, D)
    about : (W, ...) `ABOUT` as text (None where unknown), and `cells`; index "plate|well", sorted
    """

    vectors: NDArray[np.floating]
    about: pd.DataFrame

    @property
    def controls(self) -> NDArray[np.bool_]:
        """(W,) untreated wells."""
        return (self.about["control"] == "negative").to_numpy()

    @property
    def treated(self) -> NDArray[np.bool_]:
        """(W,) wells with a compound that is no control of any kind."""
        return (self.about["compound"].notna() & self.about["control"].isna()).to_numpy()


def average_wells(cells: Cells, how: Literal["mean", "median"]) -> WellProfiles:
    """Average the cells of each field, and the fields of each well.

    Parameters
    ----------
    cells : obs with `plate`, `well` and `field_id`; cells without plate or well are left out
    """
    columns = {name: cells.column(name) for name in (*ABOUT, "field_id")}
    known = (columns["plate"].notna() & columns["well"].notna()).to_numpy()
    key = (columns["plate"].astype(str) + "|" + columns["well"].astype(str))[known].to_numpy(str)
    field = columns["field_id"].fillna("").astype(str)[known].to_numpy(str)
    features = cells.features[known].astype(float)
    if not len(features):
        return WellProfiles(features, pd.DataFrame(columns=[*ABOUT, "cells"]))
    wells, well_codes = np.unique(key, return_inverse=True)
    pairs, field_codes = np.unique(np.char.add(np.char.add(key, "\t"), field), return_inverse=True)
    of_field = pd.DataFrame(features).groupby(field_codes)
    fields = (of_field.mean() if how == "mean" else of_field.median()).to_numpy()
    well_of_field = np.searchsorted(wells, [name.split("\t")[0] for name in pairs])
    vectors = pd.DataFrame(fields).groupby(well_of_field).mean().to_numpy()
    table = pd.DataFrame({name: columns[name][known].to_numpy(object) for name in ABOUT})
    about = table.groupby(well_codes).first()
    about = about.where(about.notna(), None)
    about["cells"] = np.bincount(well_codes)
    about.index = pd.Index(wells, name="unit")
    return WellProfiles(vectors, about)


def process(wells: WellProfiles, how: Processing) -> NDArray[np.floating]:
    """Scale by plate, select features, sphere on the controls; (W, features).

    Parameters
    ----------
    wells : as `average_wells` gives them with `how.average`
    """
    vectors = scale_plates(wells.vectors, wells.about["plate"].to_numpy(str), how.scale, wells.controls)
    if how.select:
        chosen = select_features(vectors)
        # Where plates explain everything nothing varies any more; a column of zeros says so.
        vectors = vectors[:, chosen] if chosen.any() else vectors[:, :1]
    if how.sphere != "none" and wells.controls.sum() > 2:
        vectors = sphere(vectors, wells.controls, by_deviation=how.sphere == "correlation")
    return vectors


def scale_plates(
    vectors: NDArray[np.floating], plate: NDArray[Any], how: str, controls: NDArray[np.bool_] | None = None
) -> NDArray[np.floating]:
    """Each feature of each plate with middle 0 and spread 1; one without spread becomes 0.

    Where all plates have control wells (`LEAST_CONTROLS`) the middle is that of a plate's own ones, and the spread that of all
    control wells about them: treated wells are no measure for a plate that holds few compounds, as most do in many screens. Its
    own compounds would then be its middle and spread: replicates, on plates with the same compounds, come to look alike,
    and compounds of a mechanism, on plates with others, do not.

    Parameters
    ----------
    vectors : (W, D)
    plate, controls : (W,)
    how : `standard` for mean and deviation, `robust` for median and median deviation
    """
    by_controls = controls is not None and have_controls(plate, controls)
    reference = controls if by_controls and controls is not None else np.ones(len(plate), bool)
    out = np.empty_like(vectors)
    plates = [plate == name for name in np.unique(plate)]
    for rows in plates:
        part = vectors[rows & reference]
        out[rows] = vectors[rows] - (part.mean(axis=0) if how == "standard" else np.median(part, axis=0))
    for rows in [np.ones(len(plate), bool)] if by_controls else plates:
        spread = _spread(out[rows & reference], how)
        flat = spread <= 1e-9 * max(float(np.abs(vectors[rows]).max(initial=0)), 1e-30)
        # Of a feature in which control wells are all alike only the others can tell how far it reaches.
        spread, flat = np.where(flat, _spread(out[rows], "standard"), spread), flat & (not by_controls)
        flat |= spread <= 1e-9 * max(float(np.abs(vectors[rows]).max(initial=0)), 1e-30)
        out[rows] = np.where(flat, 0, out[rows] / np.where(flat, 1, spread))
    return out


def have_controls(plate: NDArray[Any], controls: NDArray[np.bool_]) -> bool:
    """Whether every plate has enough control wells to be measured by them."""
    return bool((pd.Series(controls).groupby(plate).sum() >= LEAST_CONTROLS).all())


def _spread(centred: NDArray[np.floating], how: str) -> NDArray[np.floating]:
    """Deviation of each feature; 1.4826 makes the median deviation of a normal distribution its standard deviation."""
    return centred.std(axis=0) if how == "standard" else 1.4826 * np.median(np.abs(centred), axis=0)


def select_features(vectors: NDArray[np.floating], most: float = CORRELATION) -> NDArray[np.bool_]:
    """Features that vary and do not repeat one that was kept, (D,) bool.

    As in pycytominer's `correlation_threshold`: of two features that correlate more than `most`, that which correlates
    more with all others goes; one pass from the feature that correlates most.
    """
    varies = vectors.std(axis=0) > 1e-9
    kept = np.flatnonzero(varies)
    if len(kept) < 2:
        return varies
    correlation = np.abs(np.corrcoef(vectors[:, kept], rowvar=False))
    np.fill_diagonal(correlation, 0)
    stays = np.ones(len(kept), bool)
    for feature in np.argsort(-correlation.sum(axis=1), kind="stable"):
        if (correlation[feature] * stays).max() > most:
            stays[feature] = False
    chosen = np.zeros(vectors.shape[1], bool)
    chosen[kept[stays]] = True
    return chosen


def sphere(vectors: NDArray[np.floating], controls: NDArray[np.bool_], *, by_deviation: bool) -> NDArray[np.floating]:
    """Centre on the control wells and whiten by their covariance (ZCA), estimated as Ledoit and Wolf do.

    There are fewer control wells than features as a rule; their covariance has then no inverse, and a small number in its
    place, as in pycytominer's `Spherize`, makes the directions in which controls happen not to differ all that counts.

    Parameters
    ----------
    vectors : (W, D)
    controls : (W,)
    by_deviation : divide each feature by its deviation over controls first (ZCA-cor)
    """
    from sklearn.covariance import LedoitWolf

    centred = vectors - vectors[controls].mean(axis=0)
    if by_deviation:
        spread = centred[controls].std(axis=0)
        centred = centred / np.where(spread > 1e-9, spread, 1)
    covariance = LedoitWolf(assume_centered=True).fit(centred[controls]).covariance_
    values, directions = np.linalg.eigh(covariance)
    return np.asarray(centred @ (directions / np.sqrt(np.maximum(values, 1e-12))) @ directions.T)
