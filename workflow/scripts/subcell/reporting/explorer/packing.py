"""Columns and arrays small enough to lie inside the page: typed numbers as base64, read by `explorer_data.js`."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_CATEGORIES = 400
"""A text column with more values than this names the rows rather than grouping them, and colours nothing."""

MISSING = -1


def packed(array: NDArray[Any]) -> dict[str, str]:
    """A 1-D array as {"type": "u1" | "u2" | "u4" | "i4" | "f4", "data": base64}, little-endian.

    Integers take the smallest type that holds them; floats are cut to 32 bits.
    """
    values = np.asarray(array).ravel()
    if values.dtype.kind == "f":
        kind = "f4"
    elif values.size and values.min() < 0:
        kind = "i4"
    else:
        largest = int(values.max(initial=0))
        kind = "u1" if largest < 2**8 else "u2" if largest < 2**16 else "u4"
    data = np.ascontiguousarray(values.astype("<" + kind)).tobytes()
    return {"type": kind, "data": base64.b64encode(data).decode("ascii")}


def packed_positions(
    points: NDArray[np.floating], *, low: NDArray[np.floating], side: float
) -> dict[str, dict[str, str]]:
    """Points (N, 2) inside a square as steps of 1/65535 of its side: {"x", "y"}.

    Parameters
    ----------
    low, side : lower left corner (2,) and side of the square; points outside are moved to its edge
    """
    steps = np.clip((points - low) / side, 0, 1) * 65535
    x, y = np.round(steps).astype(np.int64).T if len(points) else np.zeros((2, 0), np.int64)
    return {"x": packed(x), "y": packed(y)}


def enclosing_square(points: NDArray[np.floating], *, margin: float = 0.04) -> tuple[NDArray[np.floating], float]:
    """Lower left corner and side of the smallest square around points (N, 2), with a margin on every side."""
    if not len(points):
        return np.zeros(2), 1.0
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(float((high - low).max()), 1e-9) * (1 + 2 * margin)
    return (low + high) / 2 - side / 2, side


def packed_column(series: pd.Series, *, title: str) -> dict[str, Any] | None:
    """A column to colour points by, or None for one that tells nothing: constant, empty, or a name of its own a row.

    Returns
    -------
    {"title", "kind": "number", "values"} with NaN where missing, or {"title", "kind": "category", "categories",
    "codes"} with the number of categories where missing, the most frequent category first
    """
    if pd.api.types.is_bool_dtype(series):
        series = series.map({True: "yes", False: "no"})
    if pd.api.types.is_numeric_dtype(series):
        values = series.to_numpy(np.float64, na_value=np.nan)
        known = values[np.isfinite(values)]
        if not len(known) or known.min() == known.max():
            return None
        return {"title": title, "kind": "number", "values": packed(np.where(np.isfinite(values), values, np.nan))}
    text = series.astype(object).where(series.notna(), None).map(str, na_action="ignore")
    counts = text.dropna().value_counts()
    if len(counts) < 2 or len(counts) > MOST_CATEGORIES or (counts.iloc[0] == 1 and len(text) > 2):
        return None
    categories = sorted(counts.index, key=lambda name: (-counts[name], name))
    return {"title": title, "kind": "category", "categories": categories, "codes": packed(coded(text, categories))}


def packed_lists(labels: Sequence[Any], *, title: str) -> dict[str, Any] | None:
    """A column of lists, ";" between names, e.g. the locations of a protein: {"title", "kind": "list", "categories",
    "starts", "codes"}, row i having codes[starts[i]:starts[i + 1]]; None where no row has a name."""
    split = [
        [part.strip() for part in label.split(";") if part.strip()] if isinstance(label, str) else []
        for label in labels
    ]
    counts = pd.Series([name for names in split for name in names], dtype=object).value_counts()
    if not len(counts):
        return None
    categories = sorted(counts.index, key=lambda name: (-counts[name], name))
    number = {name: code for code, name in enumerate(categories)}
    starts = np.cumsum([0, *(len(names) for names in split)])
    codes = np.array([number[name] for names in split for name in names], np.int64)
    return {"title": title, "kind": "list", "categories": categories, "starts": packed(starts), "codes": packed(codes)}


def coded(values: Sequence[Any] | pd.Series, names: Sequence[str]) -> NDArray[np.int64]:
    """The number of each value in `names`; len(names) for any other."""
    codes = pd.Index(names).get_indexer(pd.Index(values, dtype=object))
    return np.where(codes == MISSING, len(names), codes)


def inert_json(value: Any) -> str:
    """JSON that can stand inside <script type="application/json">: no "<" can end the element or open another."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
