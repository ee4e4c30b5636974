"""Segmentation: masks against reference masks, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.statistics.bootstrap import LEVEL, Estimate, bootstrap_mean, units_key
from subcell.benchmarks.statistics.result import Result, as_metric, kept, not_run, write_result

BENCHMARK = "segmentation"
OBJECTS = {"cells": "reference_cells", "nuclei": "reference_nuclei"}
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Overlaps (intersection over union) from 0.5 to 0.95."""

SCORES = ("ap50", "ap50_95", "aggregated_jaccard", "boundary_f", "f1_50", "count_error")

AP_COLUMNS = tuple(f"ap_{100 * overlap:.0f}" for overlap in THRESHOLDS)
"""Columns of the table of fields: the AP at each overlap."""


def run_segmentation(
    fields: pd.DataFrame,
    *,
    images: Sequence[str | Path],
    masks: Sequence[str | Path],
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    bootstraps: int = 1000,
    seed: int = 42,
    **_other_scoring: Any,
) -> Result:
    """Score nuclei and cells in every field that has reference label images.

    Of each field: `ap50`, matched / (matched + missed + invented) at an overlap of 0.5; `ap50_95`, its mean over
    overlaps 0.5 to 0.95; `aggregated_jaccard` (Kumar et al. 2017); `boundary_f`, F1 of boundary pixels within two pixels
    of each other; `f1_50`; `count_error`, |found - true| / true. A score is the mean over fields, its interval
    comes from resampling fields; a field with neither true nor found objects has none. Masks that equal the references
    in every field are copies of them, and are not scored.

    Parameters
    ----------
    fields : table of the dataset's fields
    images, masks : folders of images and of label images, one a shard, in the same order
    out_json, out_parquet : see `subcell.benchmarks.statistics.result`; the table has one row a field and kind of object
    dataset, model, simulated : go into the result; `model` is the segmentation model
    bootstraps, seed : of the resamples of fields
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    table, not_scored = score_fields(fields, images, masks)
    if table.empty:
        missing = "needs reference masks" if not not_scored else "needs masks of the fields that have reference masks"
        return write_result(not_run(missing, **names), out_json, out_parquet, table)
    if table.loc[table["true"] > 0, "identical"].all() and (table["true"] > 0).any():
        # No segmentation is right to the last pixel everywhere: a perfect score would be read as one.
        return write_result(
            not_run("needs masks that are not copies of the reference masks", **names), out_json, out_parquet
        )
    metrics, replicates, keys = [], {}, {}
    for objects, part in table.groupby("objects", sort=False):
        for score in SCORES:
            name, known = f"{objects}_{score}", part[part[score].notna()]
            found = _mean_over_fields(known[score].to_numpy(float), score, bootstraps=bootstraps, seed=seed)
            metrics.append(as_metric(name, found, chance=None, n=len(known), unit="field"))
            replicates[name], keys[name] = kept(found), units_key(known["unit"])
    headline = metrics[0].metric
    result = Result(
        **names,
        metrics=metrics,
        replicates={headline: replicates[headline]},
        units_key=keys[headline],
        settings={
            "task": "masks against the reference masks of each field, mean over fields",
            "overlaps": list(THRESHOLDS),
            "interval": f"{LEVEL:.0%}, standard error of {bootstraps} bootstrap resamples of fields",
            "seed": seed,
        },
        details={
            "ap_by_overlap": {
                str(objects): _by_overlap(part) for objects, part in table.groupby("objects", sort=False)
            },
            "pooled": {str(objects): _pooled(part) for objects, part in table.groupby("objects", sort=False)},
            "fields_identical_to_reference": int(table.loc[table["true"] > 0].groupby("unit")["identical"].all().sum()),
            "fields_not_scored": not_scored,
        },
    )
    return write_result(result, out_json, out_parquet, table)


def score_fields(
    fields: pd.DataFrame, images: Sequence[str | Path], masks: Sequence[str | Path]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Score each field that has reference label images.

    Returns
    -------
    table : one row a field and kind of object: unit (the field), objects, true, found, matched, identical (the same
        objects to the last pixel), `SCORES`
    not_scored : field -> why, of those that have reference label images but no usable masks
    """
    from subcell.errors import ImageError, ShapeError
    from subcell.imaging.read import read_labels, read_ledger
    from subcell.segmentation.masks import open_masks

    wanted = set(fields["field_id"])
    rows: list[dict[str, Any]] = []
    not_scored: dict[str, str] = {}
    for images_dir, masks_path in zip(images, masks, strict=True):
        ledger = read_ledger(images_dir)
        referenced = ledger[ledger["channel"].isin(OBJECTS.values()) & (ledger["status"] == "ok")]
        here = [name for name in dict.fromkeys(referenced["field_id"]) if name in wanted]
        if not here:
            continue
        store = open_masks(masks_path)
        segmented = set(store.field_ids)
        for field_id in here:
            if field_id not in segmented:
                not_scored[field_id] = "no masks: set aside before"
                continue
            try:
                truths = {kind: read_labels(images_dir, ledger, field_id, name) for kind, name in OBJECTS.items()}
                nuclei, cells = store.labels(field_id)
                rows += _score_field(field_id, truths, {"nuclei": nuclei, "cells": cells})
            except (ImageError, ShapeError) as problem:
                not_scored[field_id] = str(problem)
    columns = ["unit", "objects", "true", "found", "matched", "identical", *SCORES, *AP_COLUMNS]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["objects", "unit"], ascending=[False, True], ignore_index=True), not_scored


def _score_field(
    field_id: str, truths: dict[str, NDArray[Any] | None], found: dict[str, NDArray[Any]]
) -> list[dict[str, Any]]:
    from subcell.segmentation.scoring import aggregated_jaccard, boundary_f, score_masks

    rows = []
    for kind, truth in truths.items():
        if truth is None:
            continue
        counts = score_masks(truth, found[kind], thresholds=THRESHOLDS)
        matched, invented, missed = (int(counts[name][0, 0]) for name in ("tp", "fp", "fn"))
        true = matched + missed
        ap = counts["ap"][0]
        rows.append(
            {
                "unit": field_id,
                "objects": kind,
                "true": true,
                "found": matched + invented,
                "matched": matched,
                "identical": same_objects(truth, found[kind]),
                "ap50": ap[0],
                "ap50_95": ap.mean(),
                "aggregated_jaccard": aggregated_jaccard(truth, found[kind]),
                "boundary_f": boundary_f(truth, found[kind]),
                **dict(zip(AP_COLUMNS, ap, strict=True)),
                "f1_50": counts["f1"][0, 0],
                "count_error": abs(invented - missed) / true if true else float("nan"),
            }
        )
    return rows


def same_objects(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two label images (Y, X) outline the same objects to the last pixel, whatever their numbers."""
    import fastremap

    # Numbered in the order in which they appear, equal objects have equal numbers.
    return bool(np.array_equal(fastremap.renumber(one)[0], fastremap.renumber(other)[0]))


def _mean_over_fields(values: NDArray[np.floating], name: str, *, bootstraps: int, seed: int) -> Estimate:
    if not len(values):
        return Estimate(float("nan"), float("nan"), float("nan"), np.zeros(0))
    bounds = (0.0, np.inf if name.endswith("error") else 1.0)
    return bootstrap_mean(values, bootstraps=bootstraps, seed=seed, bounds=bounds)


def _by_overlap(part: pd.DataFrame) -> dict[str, float]:
    """AP at each overlap, mean over fields."""
    return {f"{overlap:.2f}": float(part[name].mean()) for overlap, name in zip(THRESHOLDS, AP_COLUMNS, strict=True)}


def _pooled(part: pd.DataFrame) -> dict[str, Any]:
    """Scores over all objects of all fields together, at an overlap of 0.5."""
    true, found, matched = (int(part[name].sum()) for name in ("true", "found", "matched"))
    return {
        "fields": len(part),
        "true": true,
        "found": found,
        "matched": matched,
        "ap50": _ratio(matched, true + found - matched),
        "f1_50": _ratio(2 * matched, true + found),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
