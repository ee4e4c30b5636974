"""Fields that stand out from their plate, and plates that stand out from their dataset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.channels import CHANNELS
from subcell.tables import write_table

METRICS = {
    **{"cells": 1.0, "nucleus_area_um2": 5.0, "cell_area_um2": 20.0, "dna_intensity": 2.0, "focus": 0.01},
    **{"saturated_fraction": 0.005, "border_fraction": 0.05, "covered_fraction": 0.05, "agreement_f1": 0.05},
    **{f"background_{channel}": 2.0 for channel in CHANNELS},
}
"""What is compared -> the least spread that is believed, in its own unit (counts of intensities, else shares): where most
values are equal, a single pixel or grey level more is no outlier."""

LIMIT = 3.5
"""Robust z-score from which on a value is an outlier (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""

LEAST_SHARE = 0.05
"""Share of the median below which no spread is believed: values that hardly vary would make outliers of each other."""

FEWEST = 5
"""Fewer values have no outliers."""

FIELD_COLUMNS = ("field_id", "plate", "metric", "value", "plate_median", "robust_z")
PLATE_COLUMNS = ("plate", "fields", "fields_set_aside", "outlying_fields", "metric", "median", "robust_z", "outlier")


def check_plates(qc_paths: Iterable[str | Path], out_fields: str | Path, out_plates: str | Path) -> None:
    """Write both tables of `outliers` for the quality tables of all shards of a dataset."""
    tables = [pd.read_parquet(path) for path in qc_paths]
    fields, plates = outliers(pd.concat(tables, ignore_index=True))
    for table, path in ((fields, out_fields), (plates, out_plates)):
        write_table(table, path, float_format="%.6g")


def outliers(qc: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare fields with the other fields of their plate, and plates with the other plates.

    Parameters
    ----------
    qc : one row a field, `subcell.segmentation.tables.QC_SCHEMA`; fields without a plate count as one plate

    Returns
    -------
    fields : the outlying values alone, `FIELD_COLUMNS`
    plates : a row a plate and metric, `PLATE_COLUMNS`; robust_z of the plate's median among all plates' medians
    """
    qc = qc.assign(plate=qc["plate"].fillna("").astype(str)).sort_values(["plate", "field_id"])
    used = qc[qc["status"] != "set aside"]
    found: list[tuple[Any, ...]] = []
    summaries: list[tuple[Any, ...]] = []
    for plate, fields in qc.groupby("plate", sort=True):
        seen = used[used["plate"] == plate]
        values = {metric: seen[metric].to_numpy(float) for metric in METRICS}
        before = len(found)
        for metric in METRICS:
            scores = robust_z(values[metric], metric)
            found += [
                (seen["field_id"].iloc[row], plate, metric, values[metric][row], _median(values[metric]), scores[row])
                for row in np.flatnonzero(np.abs(scores) > LIMIT)
            ]
        counts = (len(fields), len(fields) - len(seen), len({row[0] for row in found[before:]}))
        summaries += [(plate, *counts, metric, _median(values[metric])) for metric in METRICS]
    plates = pd.DataFrame(summaries, columns=list(PLATE_COLUMNS[:-2])).assign(robust_z=np.nan)
    for metric, of_plates in plates.groupby("metric")["median"]:
        plates.loc[of_plates.index, "robust_z"] = robust_z(of_plates.to_numpy(float), str(metric))
    plates["outlier"] = plates["robust_z"].abs() > LIMIT
    return pd.DataFrame(found, columns=list(FIELD_COLUMNS)), plates


def robust_z(values: NDArray[np.floating], metric: str) -> NDArray[np.floating]:
    """Distance from the median in units of the standard deviation that the median absolute deviation implies.

    That is no less than `METRICS` gives for the metric, nor than `LEAST_SHARE` of the median. NaN for values that are not
    finite, and for all where fewer than `FEWEST` are.
    """
    known = values[np.isfinite(values)]
    if len(known) < FEWEST:
        return np.full(len(values), np.nan)
    middle = np.median(known)
    spread = max(1.4826 * np.median(np.abs(known - middle)), LEAST_SHARE * abs(middle), METRICS[metric])
    scores: NDArray[np.floating] = (values - middle) / spread
    return scores


def _median(values: NDArray[np.floating]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
