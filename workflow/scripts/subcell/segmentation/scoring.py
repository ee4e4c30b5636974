"""Agreement of predicted label images with true ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from subcell.errors import ShapeError

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Overlaps (intersection over union) from which on two masks count as the same object."""


def score_masks(
    truth: NDArray[np.integer] | Sequence[NDArray[np.integer]],
    predicted: NDArray[np.integer] | Sequence[NDArray[np.integer]],
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, np.ndarray]:
    """Count matched objects per image.

    Objects are matched one to one so that as many pairs as possible overlap enough, by `cellpose.metrics`.

    Parameters
    ----------
    truth, predicted : label images (Y, X), or lists of them; 0 is background
    thresholds : intersection over union from which on a pair matches

    Returns
    -------
    dict of arrays, one row an image, one column a threshold:
        tp, fp, fn : matched objects, predicted ones without a match, true ones without
        ap : tp / (tp + fp + fn), Cellpose's average precision; NaN where an image has neither
        f1 : 2 tp / (2 tp + fp + fn)
    and `thresholds`. For a score over a data set, sum the counts first (`pooled`).

    Raises
    ------
    ShapeError : not as many predictions as truths, or another size
    """
    from cellpose.metrics import average_precision

    truths = [truth] if isinstance(truth, np.ndarray) else list(truth)
    predictions = [predicted] if isinstance(predicted, np.ndarray) else list(predicted)
    if len(truths) != len(predictions):
        raise ShapeError(f"{len(truths)} true label images, but {len(predictions)} predicted ones")
    for number, (one, other) in enumerate(zip(truths, predictions, strict=True)):
        if one.shape != other.shape or one.ndim != 2:
            raise ShapeError(f"label image {number}: truth has shape {one.shape}, prediction {other.shape}")
    counts = {name: np.zeros((len(truths), len(thresholds)), np.int64) for name in ("tp", "fp", "fn")}
    for row, (one, other) in enumerate(zip(truths, predictions, strict=True)):
        one, other = _objects(one, other)
        if one.max() == 0 or other.max() == 0:
            counts["fn"][row] = one.max()
            counts["fp"][row] = other.max()
            continue
        _, tp, fp, fn = average_precision(one, other, threshold=list(thresholds))
        counts["tp"][row], counts["fp"][row], counts["fn"][row] = tp, fp, fn
    return counts | _ratios(counts) | {"thresholds": np.asarray(thresholds, float)}


def aggregated_jaccard(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Aggregated Jaccard index (Kumar et al. 2017) as `cellpose.metrics` has it: objects are paired one to one.

    Parameters
    ----------
    truth, predicted : label images (Y, X); 0 is background

    Returns
    -------
    pixels that paired objects share, over all pixels of any object of either image; NaN where neither has an object
    """
    from cellpose.metrics import aggregated_jaccard_index

    one, other = _objects(truth, predicted)
    if one.max() == 0 or other.max() == 0:
        return float("nan") if one.max() == other.max() else 0.0
    return float(aggregated_jaccard_index([one], [other])[0])


def boundary_f(truth: NDArray[np.integer], predicted: NDArray[np.integer], *, tolerance_px: int = 2) -> float:
    """F1 of the pixels on the boundaries of objects (Martin et al. 2004): those near a boundary of the other image.

    Parameters
    ----------
    truth, predicted : label images (Y, X); 0 is background
    tolerance_px : how far apart they may lie

    Returns
    -------
    NaN where neither has an object
    """
    import cv2
    from skimage.morphology import disk
    from skimage.segmentation import find_boundaries

    edges = [find_boundaries(np.asarray(labels), mode="inner") for labels in (truth, predicted)]
    if not all(edge.any() for edge in edges):
        return 0.0 if any(edge.any() for edge in edges) else float("nan")
    reach = disk(tolerance_px)
    near = [cv2.dilate(edge.astype(np.uint8), reach).astype(bool) for edge in edges]
    recall, precision = near[1][edges[0]].mean(), near[0][edges[1]].mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def pooled(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of all images together: counts summed over images, then `ap` and `f1`, one value a threshold."""
    counts = {name: scores[name].sum(axis=0) for name in ("tp", "fp", "fn")}
    return counts | _ratios(counts) | {"thresholds": scores["thresholds"]}


def _ratios(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    tp, wrong = counts["tp"].astype(float), (counts["fp"] + counts["fn"]).astype(float)
    with np.errstate(invalid="ignore"):
        return {"ap": tp / (tp + wrong), "f1": 2 * tp / (2 * tp + wrong)}


def _objects(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with ids from 1 to n and one pixel of background, as Cellpose counts them; the others of both say nothing."""
    import fastremap

    inside = (truth > 0) | (predicted > 0)
    one, other = (
        fastremap.renumber(np.append(0, labels[inside]))[0].astype(np.int32)[None] for labels in (truth, predicted)
    )
    return one, other
