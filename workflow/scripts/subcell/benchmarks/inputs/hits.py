"""What each perturbation does: a table for the bench."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from subcell.benchmarks.inputs.profiles import WellProfiles
from subcell.benchmarks.statistics.ranking import find_groups, rank_among

HIT_COLUMNS = (
    *("compound", "dose", "mechanism", "wells", "plates", "cells", "cells_a_well", "cell_count_ratio"),
    *("activity_map", "p_value", "q_value", "effect_size", "replicate_agreement"),
    *("nearest", "nearest_mechanism"),
)
"""Columns of hits.tsv."""

NULL_SIZE = 10_000
NEAREST = 3


def perturbations(about: pd.DataFrame) -> pd.Series:
    """Name of each well's perturbation, compound and dose; None where there is no compound."""
    dose = about["dose"].map(lambda value: f" @ {value}" if value is not None else "")
    return (about["compound"].astype(object) + dose).where(about["compound"].notna(), None)


def hit_table(
    wells: WellProfiles, vectors: NDArray[np.floating], scaled: NDArray[np.floating], *, seed: int = 0
) -> pd.DataFrame:
    """One row a perturbation, strongest first.

    Parameters
    ----------
    wells : averaged wells
    vectors : (W, D) the same, processed and sphered: for the nearest perturbations
    scaled : (W, D') the same, scaled by plate and not sphered: for all that is measured against controls. Wells that
        sphering and its centre were not fitted to are alike for that alone, and inactive compounds would look active
    seed : of the null distributions

    Returns
    -------
    `HIT_COLUMNS`: cells_a_well, cell_count_ratio (to the controls of the same plates, median over wells); activity_map, how
    well its wells on other plates are found among control wells; p_value, by copairs' null distributions, in which a draw
    that equals the score counts (in copairs' own it does not, and with few control wells a perfect ranking by chance would
    look significant); q_value, Benjamini-Hochberg; effect_size, the distance of its mean profile from the controls' over
    that expected of as many control wells (1: none); replicate_agreement, mean cosine of its wells on different plates;
    nearest, the perturbations of other compounds whose mean profiles are most alike, with their cosine
    """
    named = perturbations(wells.about)
    treated = named.notna().to_numpy() & ~wells.controls
    names = sorted(set(named[treated]))
    if not names:
        return pd.DataFrame(columns=list(HIT_COLUMNS))
    activity = _activity(wells, scaled, named, seed)
    means = np.stack([vectors[treated & (named == name).to_numpy()].mean(axis=0) for name in names])
    unit = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    distances = scaled - scaled[wells.controls].mean(axis=0) if wells.controls.any() else scaled
    about = [_about(wells, treated & (named == name).to_numpy()) for name in names]
    ratio = count_ratio(wells)
    plates = wells.about["plate"].to_numpy(str)
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        own = treated & (named == name).to_numpy()
        others = [
            n for n in np.argsort(-cosine[number], kind="stable") if about[n]["compound"] != about[number]["compound"]
        ]
        rows.append(
            {
                **about[number],
                "cell_count_ratio": float(np.nanmedian(ratio[own])) if np.isfinite(ratio[own]).any() else np.nan,
                **activity.get(name, {}),
                "effect_size": float(np.linalg.norm(distances[own].mean(axis=0)) / _expected(wells, scaled, own.sum())),
                "replicate_agreement": _agreement(scaled[own], plates[own]),
                "nearest": "; ".join(f"{names[n]} ({cosine[number, n]:.2f})" for n in others[:NEAREST]),
                "nearest_mechanism": about[others[0]]["mechanism"] if others else None,
            }
        )
    table = pd.DataFrame(rows).reindex(columns=list(HIT_COLUMNS))
    return table.sort_values(["q_value", "effect_size"], ascending=[True, False], kind="stable", ignore_index=True)


def well_effects(wells: WellProfiles, scaled: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distance of each well's profile from the controls' over that expected of a control well, (W,); nan without controls."""
    if not wells.controls.any():
        return np.full(len(scaled), np.nan)
    return np.linalg.norm(scaled - scaled[wells.controls].mean(axis=0), axis=1) / _expected(wells, scaled, 1)


def count_ratio(wells: WellProfiles) -> NDArray[np.floating]:
    """Cells of each well over the median of the control wells of its plate, (W,); nan where it has none."""
    counts = wells.about["cells"].to_numpy(float)
    plate = wells.about["plate"].to_numpy(str)
    typical = pd.Series(counts[wells.controls]).groupby(plate[wells.controls]).median()
    return counts / pd.Series(plate).map(typical).to_numpy(float)


def _about(wells: WellProfiles, rows: NDArray[np.bool_]) -> dict[str, Any]:
    part = wells.about[rows]
    return {
        "compound": part["compound"].iloc[0],
        "dose": part["dose"].iloc[0],
        "mechanism": part["mechanism"].iloc[0],
        "wells": len(part),
        "plates": part["plate"].nunique(),
        "cells": int(part["cells"].sum()),
        "cells_a_well": float(part["cells"].mean()),
    }


def _activity(
    wells: WellProfiles, vectors: NDArray[np.floating], named: pd.Series, seed: int
) -> dict[str, dict[str, float]]:
    """Activity mAP, p- and q-value of each perturbation with wells on two plates."""
    from copairs.compute import get_null_dists

    controls = wells.controls
    kept = controls | named.notna().to_numpy()
    control, plate = controls[kept], wells.about["plate"].to_numpy(str)[kept]
    # A control well is its own perturbation, so that no two of them are a pair.
    names = np.where(control, "", named[kept].fillna("").to_numpy(str))
    label = np.where(control, -1 - np.arange(len(control)), pd.factorize(names)[0])
    unit = vectors[kept] / np.maximum(np.linalg.norm(vectors[kept], axis=1, keepdims=True), 1e-12)
    allowed = (plate[:, None] != plate) & ((label[:, None] == label) | control)
    precision, _, positives = find_groups(rank_among(unit @ unit.T, allowed), label)
    total = allowed.sum(axis=1)
    asked = ~control & (positives > 0) & (positives < total)
    if not asked.any():
        return {}
    settings, which = np.unique(np.column_stack([positives, total])[asked], axis=0, return_inverse=True)
    chance = get_null_dists(settings, NULL_SIZE, seed=seed, progress_bar=False)
    labels, scores = names[asked], precision[asked]
    means = {name: float(scores[labels == name].mean()) for name in np.unique(labels)}
    # A draw that reaches the score counts: with few control wells many rankings are as good as the best.
    p_values = {
        name: (1 + int((chance[which[labels == name]].mean(axis=0) >= mean - 1e-6).sum())) / (NULL_SIZE + 1)
        for name, mean in means.items()
    }
    q_values = dict(zip(p_values, false_discovery_control(list(p_values.values())), strict=True))
    return {
        name: {"activity_map": means[name], "p_value": p_values[name], "q_value": float(q_values[name])}
        for name in means
    }


def _agreement(vectors: NDArray[np.floating], plate: NDArray[Any]) -> float:
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    apart = plate[:, None] != plate
    return float((unit @ unit.T)[apart].mean()) if apart.any() else float("nan")


def _expected(wells: WellProfiles, scaled: NDArray[np.floating], number: int) -> float:
    """Root of the mean square distance between the mean of so many further control wells and that of those there are."""
    controls = scaled[wells.controls]
    if len(controls) < 2:
        return float("nan")
    spread = float(controls.var(axis=0, ddof=1).sum())
    return float(np.sqrt(spread * (1 / number + 1 / len(controls)))) or float("nan")
