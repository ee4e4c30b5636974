"""Attention: whether a network looks at the parts of a cell, and how much the cells around it matter to it.

Protocol. Some held-out cells of a dataset, chosen by a hash of their id. Each head (of the pooling, and of the class token
in the last block) is scored as a segmenter: average precision with which its attention on the patches of the cell finds the
patches that hold a structure, a patch counting by its share of the structure. Structures are the nucleus (mask),
microtubules and ER (above Otsu's threshold in the cell) and, where the simulator drew them, nucleoli and centrosomes. Of
each structure the best head is chosen on half of the cells and scored on the other half. `structure_ap` (the headline) is
the mean over structures. Its chance is what attention dealt at random to the patches of a cell gives, which is above the
share of the structure, the fewer the patches the more; beside it stand four controls: even attention (that share), the
intensity of all channels together, the best head of the same network untrained, and the best head on another cell's
attention.
`share_in_cell` and `share_in_nucleus` are the attention of the pooling on them, beside their share of the crop.
`swap_*` puts the cell into the surroundings of another one, unmasked: the cosine distance by which its vector moves, over that
to the other cell's vector, for attention pooling, the mean of all patches and the class token; less is better, and a
network that sees masked cells only cannot be moved. The interval comes from resampling antibodies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.probes import frozen
from subcell.benchmarks.statistics.bootstrap import LEVEL, bootstrap, units_key
from subcell.benchmarks.statistics.metrics import class_ap
from subcell.benchmarks.statistics.result import Metric, Result, as_metric, kept, not_run, write_result
from subcell.crops.store import MASKS, CropStore
from subcell.embedding.attention import KINDS, Signals, patch_means, patch_signals
from subcell.embedding.models import ATTENTION
from subcell.embedding.network import NetworkEmbedder
from subcell.embedding.sampling import sample_held_out
from subcell.names import plural

BENCHMARK, UNIT = "attention", "antibody"
HEADLINE = "structure_ap"
CONTROLS = ("uniform", "intensity", "untrained", "other_cell")
SOURCES = ("network", "random", *CONTROLS)
RANDOM_MAPS = 10
"""How many are averaged for what chance gives."""
LEAST_CELLS = 8
BATCH = 32

Truth = Mapping[str, NDArray[np.bool_]]
"""Structure -> masks (cells, H, W) in the frame of the crops."""


def run(
    crops: Sequence[str | Path],
    *,
    embedder: Any,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    split_by: str = "gene",
    structures: Any = None,
    sampled_cells: int = 100,
    bootstraps: int = 1000,
    seed: int = 42,
    **_other: Any,
) -> Result:
    """Score where a network looks.

    Parameters
    ----------
    crops : crop files of the dataset
    embedder : the model; not run without maps of attention
    out_json, out_parquet : see `subcell.benchmarks.statistics.result`; the table has one row a cell and structure
    dataset, model, simulated : go into the result
    split_by : how the dataset is split, see `frozen.resampled_units`
    structures : gives `Truth` of further structures, see `subcell.benchmarks.inputs.drawn_structures`; or None
    sampled_cells : how many cells are looked at
    bootstraps, seed : of the resamples of genes or antibodies; `seed` is also that of the untrained network
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    if not isinstance(embedder, NetworkEmbedder) or not embedder.has_attention:
        return write_result(not_run("needs a network with attention", **names), out_json, out_parquet)
    store = CropStore(crops)
    rows, which = sample_held_out(store.obs, sampled_cells, fewest=LEAST_CELLS)
    obs, images = store.obs.iloc[rows], store.read(rows)
    store.close()
    if len(rows) < LEAST_CELLS:
        return write_result(not_run(f"needs {LEAST_CELLS} cells", **names), out_json, out_parquet)
    maps, pooled = look(embedder, images, obs)
    grid = maps.shape[-2:]
    signals = [patch_signals(image, (grid[0], grid[1])) for image in images]
    found = wanted_patches(
        signals, images, structures(obs, store.field_um, store.pixels) if structures else {}, (grid[0], grid[1])
    )
    cell = np.stack([signal.fractions[0] for signal in signals])
    intensity = np.stack([signal.intensities.sum(axis=0) for signal in signals])[:, None]
    shown = {
        "network": maps,
        "uniform": np.ones_like(intensity),
        "intensity": intensity,
        "untrained": look(embedder.untrained(seed), images, obs)[0],
        # The next cell of the sample: another protein as a rule.
        "other_cell": np.roll(maps, 1, axis=0),
    }
    scores = {
        source: {name: best_head(head_scores(values, wanted, cell)) for name, wanted in found.items()}
        for source, values in shown.items()
    }
    scores["random"] = {name: by_chance(wanted, cell, seed=seed) for name, wanted in found.items()}
    drawn = frozen.units_or_fields(obs, by=split_by)
    unit = str(drawn.name)
    units, codes = np.unique(drawn.to_numpy(str), return_inverse=True)
    counted: dict[str, Any] = {"unit": unit, "bootstraps": bootstraps, "seed": seed}
    metrics, headline = _structure_metrics(scores, codes, len(units), **counted)
    metrics += _shares(maps, signals, pooled, codes, len(units), **counted)
    moved = neighbour_swap(embedder, images)
    for name, values in moved.items():
        estimate = _mean_over(values[:, None], codes, len(units), bootstraps=bootstraps, seed=seed)
        metrics.append(as_metric(f"swap_{name}", estimate, chance=None, n=len(units), unit=unit))
    result = Result(
        **names,
        metrics=metrics,
        replicates={HEADLINE: kept(headline)},
        units_key=units_key(units),
        settings={
            "task": "attention on the patches of a cell as a segmenter of its parts; best head chosen on other cells",
            "cells": which,
            "structures": list(found),
            "patches": f"{grid[0]} x {grid[1]}",
            "interval": f"{LEVEL:.0%}, standard error of {bootstraps} bootstrap resamples of {plural(unit)}",
            "seed": seed,
        },
        details={
            "heads": int(maps.shape[1]),
            "cells_with": {name: int((wanted * cell > 0).any(axis=(1, 2)).sum()) for name, wanted in found.items()},
            "controls": {
                source: {name: _plain_mean(values) for name, values in scores[source].items()} for source in SOURCES
            },
            "neighbour_swap": "measured without masking" if moved else "needs a network of SubCell's form",
        },
    )
    table = pd.DataFrame(
        {
            "unit": np.tile(units[codes], len(found)),
            "cell_id": np.tile(obs.index.to_numpy(str), len(found)),
            "structure": np.repeat(list(found), len(rows)),
            **{source: np.concatenate([scores[source][name] for name in found]) for source in SOURCES},
        }
    )
    return write_result(result, out_json, out_parquet, table)


def look(embedder: NetworkEmbedder, images: NDArray[Any], obs: pd.DataFrame) -> tuple[NDArray[np.floating], int]:
    """Maps of all heads, (N, heads, h, w), first those of the pooling, then the class token's; and how many are the pooling's."""
    parts, pooled = [], 0
    for start in range(0, len(images), BATCH):
        found = embedder.embed(images[start : start + BATCH], obs.iloc[start : start + BATCH]).more
        pooled = found[ATTENTION].shape[1] if ATTENTION in found else 0
        parts.append(np.concatenate([np.asarray(found[name], float) for name in KINDS if name in found], axis=1))
    return np.concatenate(parts), pooled


def wanted_patches(
    signals: Sequence[Signals], images: NDArray[Any], drawn: Truth, grid: tuple[int, int]
) -> dict[str, NDArray[np.floating]]:
    """Share of each patch that is a structure of the cell, (N, h, w) by name."""
    fractions = np.stack([signal.fractions for signal in signals])
    # In `fractions`: cell, nucleus, then the signal of microtubules, ER, nucleus, protein.
    found = {"nucleus": fractions[:, 1], "microtubules": fractions[:, 2], "er": fractions[:, 3]}
    for name, masks in drawn.items():
        found[name] = patch_means(masks & (images[:, 1] > 0), grid)
    return {name: values for name, values in found.items() if (values > 0).any()}


def head_scores(
    maps: NDArray[np.floating], wanted: NDArray[np.floating], cell: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Average precision of each head in each cell, among the patches of the cell.

    A patch is a positive with the share of it that is the structure and a negative with the rest of the cell in it: the
    average precision of its pixels, if attention is the same all over a patch.

    Parameters
    ----------
    maps : (N, heads, h, w)
    wanted, cell : (N, h, w) shares of each patch

    Returns
    -------
    (N, heads) nan where a cell has none of the structure, or nothing else
    """
    scores = np.full(maps.shape[:2], np.nan)
    for number, (heads, positive, whole) in enumerate(zip(maps, wanted, cell, strict=True)):
        positive = np.minimum(positive, whole)
        rest = whole - positive
        if positive.sum() <= 0 or rest.sum() <= 0:
            continue
        inside = whole > 0
        weights = np.concatenate([positive[inside], rest[inside]])
        truth = np.repeat([True, False], inside.sum())
        looked = np.tile(heads[:, inside], (1, 2)).T
        scores[number] = class_ap(np.tile(truth[:, None], (1, len(heads))), looked, weights, in_parts=True)[0]
    return scores


def by_chance(wanted: NDArray[np.floating], cell: NDArray[np.floating], *, seed: int) -> NDArray[np.floating]:
    """What a head that looks anywhere scores in each cell, (N,): the mean of `RANDOM_MAPS` random ones."""
    maps = np.random.default_rng(seed).random((len(wanted), RANDOM_MAPS, *wanted.shape[1:]))
    return head_scores(maps, wanted, cell).mean(axis=1)


def best_head(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Score of each cell by the head that is best on the other half of the cells, (N,); scores (N, heads)."""
    found = np.full(len(scores), np.nan)
    half = np.arange(len(scores)) % 2
    for side in (0, 1):
        means = _column_means(scores[half != side])
        if np.isfinite(means).any():
            found[half == side] = scores[half == side, int(np.nanargmax(means))]
    return found


def swap_surroundings(images: NDArray[Any]) -> NDArray[Any]:
    """Each cell as it is, in what surrounds the next one; (N, 6, H, W) as stored."""
    own = images[:, 1:2] > 0
    other = np.roll(images, -1, axis=0)
    swapped = images.copy()
    swapped[:, len(MASKS) :] = np.where(own, images[:, len(MASKS) :], other[:, len(MASKS) :])
    return swapped


def neighbour_swap(embedder: NetworkEmbedder, images: NDArray[Any]) -> dict[str, NDArray[np.floating]]:
    """How far the vector of each cell moves in other surroundings, over its distance to the other cell; by pooling."""
    seen, moved = (embedder.poolings(some) for some in (images, swap_surroundings(images)))
    found = {}
    for name, before in seen.items():
        centre = before.mean(axis=0)
        one, two = before - centre, moved[name] - centre
        shift = _cosine_distance(one, two)
        apart = _cosine_distance(one, np.roll(one, -1, axis=0))
        # The ratio of means, given to each cell by its part: one pair of like cells would rule a mean of ratios.
        found[name] = shift / max(float(apart.mean()), 1e-12)
    return found


def _structure_metrics(
    scores: Mapping[str, Mapping[str, NDArray[np.floating]]],
    codes: NDArray[np.int_],
    units: int,
    *,
    unit: str,
    bootstraps: int,
    seed: int,
) -> tuple[list[Metric], Any]:
    stacked = {source: np.column_stack(list(of.values())) for source, of in scores.items()}
    chance = float(np.nanmean(_column_means(stacked["random"])))
    counted: dict[str, Any] = {"n": units, "unit": unit}
    resampled: dict[str, Any] = {"bootstraps": bootstraps, "seed": seed}
    headline = _mean_over(stacked["network"], codes, units, **resampled)
    metrics = [as_metric(HEADLINE, headline, chance=chance, **counted)]
    for name, values in scores["network"].items():
        level = float(np.nanmean(scores["random"][name]))
        estimate = _mean_over(values[:, None], codes, units, **resampled)
        metrics.append(as_metric(f"{name}_ap", estimate, chance=level, **counted))
    for source in CONTROLS:
        estimate = _mean_over(stacked[source], codes, units, **resampled)
        metrics.append(as_metric(f"control_{source}_ap", estimate, chance=chance, **counted))
    return metrics, headline


def _shares(
    maps: NDArray[np.floating],
    signals: Sequence[Signals],
    heads: int,
    codes: NDArray[np.int_],
    units: int,
    *,
    unit: str,
    bootstraps: int,
    seed: int,
) -> list[Metric]:
    """Share of the pooling's attention (without one, of the class token's) on the cell and its nucleus."""
    looked = (maps[:, :heads] if heads else maps).mean(axis=1)
    weights = looked / np.maximum(looked.sum(axis=(1, 2), keepdims=True), 1e-12)
    metrics = []
    for place, name in enumerate(("cell", "nucleus")):
        parts = np.stack([signal.fractions[place] for signal in signals])
        estimate = _mean_over(
            (weights * parts).sum(axis=(1, 2))[:, None], codes, units, bootstraps=bootstraps, seed=seed
        )
        chance = float(parts.mean())
        metrics.append(as_metric(f"share_in_{name}", estimate, chance=chance, n=units, unit=unit))
    return metrics


def _mean_over(values: NDArray[np.floating], codes: NDArray[np.int_], units: int, *, bootstraps: int, seed: int) -> Any:
    """Mean over cells of each column, then over columns, with units resampled; values (N, columns), nan left out."""
    known = np.isfinite(values)
    sums = np.zeros((2, units, values.shape[1]))
    np.add.at(sums[0], codes, np.where(known, values, 0))
    np.add.at(sums[1], codes, known)

    def mean(counts: NDArray[np.integer]) -> NDArray[np.floating]:
        with np.errstate(invalid="ignore", divide="ignore"):
            columns = (counts @ sums[0]) / (counts @ sums[1])
        some = np.isfinite(columns)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(some, columns, 0).sum(axis=1) / some.sum(axis=1))

    return bootstrap(mean, units, bootstraps=bootstraps, seed=seed)


def _column_means(values: NDArray[np.floating]) -> NDArray[np.floating]:
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)


def _plain_mean(values: NDArray[np.floating]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _cosine_distance(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.floating]:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return 1 - (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
