"""Transcriptome: whether cell lines that look alike express alike.

Protocol. The paper compares the mean vector of each line with its RNA. Lines are not stained for the same proteins, so
such means differ by what was stained. Here each well's mean vector is taken as the sum of its antibody and its line, and
the lines' parts are estimated by least squares over all antibodies at once: for antibodies stained in U-2 OS and one other
line these are exactly the antibody-matched differences to U-2 OS. A line counts if antibodies connect it to the others.
Both sides then follow the paper: z-score of each column over lines, principal components (at most lines - 2, and at most
10), cosine similarity of lines, Mantel's correlation; the test is exact for 8 lines or fewer. The partial test takes out
the similarity of lines in mean cell area and in cell count, which a network need not read from a stain. `cca_match` is the share
of lines whose own expression is nearest to their vector in the space of a canonical correlation of two components fitted
to the other lines. Its chance is the mean share when lines exchange their expression: the line that is asked is the only
one whose place was not fitted, so it is matched less often than one time in as many as there are lines. The interval is over
lines, from their orders in Mantel's test; models are compared in resamples of the antibodies, with the lines as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.linalg import hadamard

from subcell.benchmarks.inputs.expression import read_expression, same_lines
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.statistics.bootstrap import LEVEL, bootstrap, units_key
from subcell.benchmarks.statistics.mantel import mantel
from subcell.benchmarks.statistics.result import Metric, Result, kept, not_run, write_result

BENCHMARK, UNIT = "transcriptome", "antibody"
DEALT = "cell_line"
HEADLINE = "mantel_r"
LEAST_LINES = 5
"""With four lines there are six similarities, and the best p-value is 1/24."""

COMPONENTS = 10
CCA_COMPONENTS = 2
EXCHANGES = 100
"""Of expression among lines, for the chance of a match."""


def run(
    cells: str | Path,
    *,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    expression: str | Path | None = None,
    truth: str | Path | None = None,
    permutations: int = 100_000,
    bootstraps: int = 1000,
    seed: int = 42,
    **_other: Any,
) -> Result:
    """Compare the similarity of lines in a model's vectors with that of their expression.

    Parameters
    ----------
    cells : AnnData file of vectors; obs with `cell_line`, `antibody`, and `plate` and `well` (or `field_id`)
    out_json, out_parquet : see `subcell.benchmarks.statistics.result`; the table has one row a pair of lines
    dataset, model, simulated : go into the result
    expression : see `subcell.benchmarks.inputs.expression.read_expression`
    truth : folder of what is true of a simulated dataset, which is read where no `expression` is given
    permutations : of Mantel's test with more than 8 lines
    bootstraps, seed : of the resamples of antibodies; the seed is that of all orders of lines too
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    expression = expression or truth
    if not expression:
        return write_result(not_run("needs a table of expression", **names), out_json, out_parquet)
    table = frozen.read_cells(cells)
    wells = well_profiles(table)
    if wells is None:
        return write_result(not_run("needs cell_line and antibody", **names), out_json, out_parquet)
    known = read_expression(expression)
    wells, known = matched_lines(wells, known)
    if len(wells.lines) < LEAST_LINES:
        reason = (
            f"needs {LEAST_LINES} cell lines with expression that shared antibodies connect (found {len(wells.lines)})"
        )
        return write_result(not_run(reason, **names), out_json, out_parquet)
    rna = known.to_numpy(float)
    wanted = cosines(principal_components(rna, COMPONENTS))
    effects = wells.effects()
    seen = cosines(principal_components(effects, COMPONENTS))
    traits = _traits(table.obs, list(wells.lines))
    tests = {"mantel_r": mantel(seen, wanted, orders=permutations, seed=seed)}
    if traits:
        tests["partial_mantel_r"] = mantel(
            seen, wanted, given=np.stack(list(traits.values())), orders=permutations, seed=seed
        )
    found = bootstrap(
        lambda counts: correlations(wells, wanted, counts),
        len(wells.antibodies),
        bootstraps=bootstraps,
        seed=seed,
        bounds=(-1, 1),
    )
    sides = [principal_components(values, CCA_COMPONENTS) for values in (effects, rna)]
    matches = cca_matches(*sides)
    chance = exchanged_matches(*sides, exchanges=EXCHANGES, seed=seed)
    counted: dict[str, Any] = {"n": len(wells.lines), "seeds": 0, "unit": "cell line"}
    metrics = [Metric(name, test.r, *test.interval(), 0.0, **counted) for name, test in tests.items()]
    # A p-value on null data is 0.5 on average.
    metrics += [
        Metric(name.removesuffix("_r") + "_p", test.p, None, None, 0.5, **counted) for name, test in tests.items()
    ]
    lines = len(wells.lines)
    metrics.append(Metric("cca_match", float(matches.mean()), None, None, chance, lines, 0, "cell line"))
    plates = table.obs.groupby("plate")["cell_line"].nunique() if "plate" in table.obs else pd.Series(dtype=int)
    result = Result(
        **names,
        metrics=metrics,
        replicates={HEADLINE: kept(found)},
        units_key=units_key(wells.antibodies),
        settings={
            "task": "similarity of cell lines in vectors and in expression; lines' parts matched by antibody",
            "cells": "those of all antibodies stained in two of the lines, also of those that trained a network",
            "components": min(COMPONENTS, lines - 2),
            "orders": tests["mantel_r"].orders,
            "exact": tests["mantel_r"].exact,
            "given": list(traits),
            "chance": f"of cca_match, mean over {EXCHANGES} orders of the lines of one side",
            "interval": f"{LEVEL:.0%}, from the spread over orders of the lines; models are compared in {bootstraps} bootstrap "
            "resamples of antibodies",
            "seed": seed,
        },
        details={
            "p_value": tests["mantel_r"].p,
            "lines": list(wells.lines),
            "antibodies": len(wells.antibodies),
            "genes": int(rna.shape[1]),
            "lines_not_scored": sorted(set(table.column("cell_line").dropna()) - set(wells.lines)),
            "plates_hold_one_line": bool(len(plates) and (plates == 1).all()),
            "cca_matched": {line: bool(hit) for line, hit in zip(wells.lines, matches, strict=True)},
        },
    )
    rows, columns = np.triu_indices(lines, 1)
    pairs = pd.DataFrame(
        {
            "unit": [f"{wells.lines[a]}|{wells.lines[b]}" for a, b in zip(rows, columns, strict=True)],
            "vectors": seen[rows, columns],
            "expression": wanted[rows, columns],
            **{name: trait[rows, columns] for name, trait in traits.items()},
        }
    )
    return write_result(result, out_json, out_parquet, pairs)


def perfect_features(
    obs: pd.DataFrame, *, expression: str | Path | None = None, truth: str | Path | None = None
) -> NDArray[np.float32]:
    """What a perfect model would see: the expression of each cell's line, in fewer than twice as many numbers as lines.

    These are all principal components of the expression, turned so that each number varies as much as any other over the
    lines: similarities of lines stay those of all genes. Zeros for lines that are not scored.
    """
    expression = expression or truth
    wells = well_profiles(frozen.Cells(np.zeros((len(obs), 1), np.float32), obs)) if expression else None
    if not expression or wells is None:
        return np.zeros((len(obs), 1), np.float32)
    wells, known = matched_lines(wells, read_expression(expression))
    lines = len(wells.lines)
    columns = 1 << max(0, lines - 1).bit_length()
    parts = np.zeros((lines, columns))
    found = all_components(known.to_numpy(float)) if lines else parts
    parts[:, : found.shape[1]] = found
    # All entries of Hadamard's matrix are 1 or -1: standardising columns, as `run` does, then changes nothing.
    seen = np.concatenate([parts @ hadamard(columns), np.zeros((1, columns))]).astype(np.float32)
    return seen[pd.Index(wells.lines).get_indexer(pd.Index(obs["cell_line"].astype(object)))]


class Wells:
    """Mean vectors of wells, each of one antibody in one line, whose sum of parts can be estimated.

    Attributes
    ----------
    lines, antibodies : names, sorted; only lines that antibodies connect, and antibodies stained in two of them
    """

    def __init__(self, means: NDArray[np.floating], antibody: NDArray[Any], line: NDArray[Any]) -> None:
        keep = _connected(antibody, line)
        self._means, self._antibody_of, self._line_of = means[keep], antibody[keep], line[keep]
        self.antibodies, self._antibody = np.unique(self._antibody_of, return_inverse=True)
        self.lines, self._line = np.unique(self._line_of, return_inverse=True)
        # Taking each antibody's mean out leaves equations of the lines alone.
        counts = np.bincount(self._antibody, minlength=len(self.antibodies))
        wells = np.arange(len(self._antibody))
        of_antibody = sparse.csr_array(
            (np.ones(len(wells)), (self._antibody, wells)), shape=(len(self.antibodies), len(wells))
        )
        antibody_means = (of_antibody @ self._means) / np.maximum(counts, 1)[:, None]
        self._centred = self._means - antibody_means[self._antibody] if len(self._antibody) else self._means
        held = np.zeros((len(self.antibodies), len(self.lines)))
        np.add.at(held, (self._antibody, self._line), 1)
        self._held, self._counts = held, counts

    def of_lines(self, lines: Sequence[str]) -> Wells:
        """Only the wells of some lines."""
        keep = np.isin(self._line_of, list(lines))
        return Wells(self._means[keep], self._antibody_of[keep], self._line_of[keep])

    def effects(self, weights: NDArray[np.floating] | None = None) -> NDArray[np.floating]:
        """The lines' parts, (lines, D), of mean 0; NaN where the weighted antibodies do not connect all lines.

        Parameters
        ----------
        weights : (antibodies,) how often each antibody counts; once where it is None
        """
        weights = np.ones(len(self.antibodies)) if weights is None else np.asarray(weights, float)
        system = np.diag(weights @ self._held) - (self._held * (weights / self._counts)[:, None]).T @ self._held
        # One direction, the same for all lines, is free: it is set to a mean of 0.
        if np.linalg.matrix_rank(system) < len(self.lines) - 1:
            return np.full((len(self.lines), self._means.shape[1]), np.nan)
        places = (self._line, np.arange(len(self._line)))
        shape = (len(self.lines), len(self._line))
        sums = sparse.csr_array((weights[self._antibody], places), shape=shape) @ self._centred
        found = np.linalg.lstsq(system + 1 / len(self.lines), sums, rcond=None)[0]
        return np.asarray(found - found.mean(axis=0))


def well_profiles(cells: frozen.Cells) -> Wells | None:
    """Means over the cells of each well; None where cells do not say their line and antibody."""
    columns = {name: cells.column(name) for name in ("cell_line", "antibody", "plate", "well", "field_id")}
    known = (columns["cell_line"].notna() & columns["antibody"].notna()).to_numpy()
    if not known.any():
        return None
    place = columns["plate"].fillna("") + "|" + columns["well"].where(columns["well"].notna(), columns["field_id"])
    key = (
        columns["antibody"].astype(str) + "\t" + columns["cell_line"].astype(str) + "\t" + place.fillna("").astype(str)
    )
    codes, wells = pd.factorize(key.where(known), sort=True)
    named = [name.split("\t") for name in wells]
    means = frozen.group_means(cells.features, codes, len(wells))
    return Wells(means, np.array([name[0] for name in named]), np.array([name[1] for name in named]))


def matched_lines(wells: Wells, known: pd.DataFrame) -> tuple[Wells, pd.DataFrame]:
    """Wells of lines with known expression that antibodies connect, and the expression of these lines, (lines, genes)."""
    matched = same_lines(wells.lines, known.index)
    wells = wells.of_lines(list(matched))
    return wells, known.loc[[matched[line] for line in wells.lines]]


def correlations(wells: Wells, wanted: NDArray[np.floating], counts: NDArray[np.integer]) -> NDArray[np.floating]:
    """Mantel's correlation when antibodies count so often, (B,); NaN where the lines fall apart.

    Parameters
    ----------
    wanted : (lines, lines) similarity that vectors are compared with
    counts : (B, antibodies)
    """
    rows, columns = np.triu_indices(len(wells.lines), 1)
    values = np.full(len(counts), np.nan)
    for number, weights in enumerate(counts):
        effects = wells.effects(weights)
        if np.isfinite(effects).all():
            seen = cosines(principal_components(effects, COMPONENTS))[rows, columns]
            if seen.std() > 0:
                values[number] = np.corrcoef(seen, wanted[rows, columns])[0, 1]
    return values


def cca_matches(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.bool_]:
    """For each line, whether its own expression is the nearest to its vector, seen by the other lines' correlation.

    Two components of each side are correlated: with more, a few lines are correlated perfectly whatever they are.

    Parameters
    ----------
    one, other : (lines, `CCA_COMPONENTS`) principal components of the same lines
    """
    from sklearn.cross_decomposition import CCA

    sides = (one, other)
    hits = np.zeros(len(one), bool)
    for line in range(len(one)):
        rest = np.arange(len(one)) != line
        if any(np.linalg.matrix_rank(side[rest] - side[rest].mean(axis=0)) < CCA_COMPONENTS for side in sides):
            continue
        fitted = CCA(n_components=CCA_COMPONENTS, max_iter=5000).fit(*(side[rest] for side in sides))
        mine, theirs = fitted.transform(*sides)
        hits[line] = np.linalg.norm(theirs - mine[line], axis=1).argmin() == line
    return hits


def exchanged_matches(one: NDArray[np.floating], other: NDArray[np.floating], *, exchanges: int, seed: int) -> float:
    """Mean share of `cca_matches` when the lines of one side are exchanged, each order drawn at random."""
    rng = np.random.default_rng(seed)
    return float(np.mean([cca_matches(one, rng.permutation(other)) for _ in range(exchanges)]))


def cosines(vectors: ArrayLike) -> NDArray[np.floating]:
    """Cosine similarity of all pairs of rows, (N, N); a row of zeros is similar to nothing."""
    vectors = np.asarray(vectors, float)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


def principal_components(vectors: ArrayLike, most: int) -> NDArray[np.floating]:
    """Rows as z-scores of each column, then their leading principal components.

    Parameters
    ----------
    vectors : (N, D); columns without spread are left out
    most : components; never more than N - 2, beyond which cosines are fixed by N alone

    Returns
    -------
    (N, components)
    """
    vectors = np.asarray(vectors, float)
    return all_components(vectors)[:, : max(1, min(most, len(vectors) - 2))]


def all_components(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """As `principal_components`, all that rows can have, (N, at most N)."""
    spread = vectors.std(axis=0)
    kept = spread > 1e-9 * max(float(spread.max(initial=0)), 1e-30)
    if not kept.any():
        return np.zeros((len(vectors), 1))
    scaled = (vectors[:, kept] - vectors[:, kept].mean(axis=0)) / spread[kept]
    # Few rows and many columns: the products of rows hold all there is.
    values, directions = np.linalg.eigh(scaled @ scaled.T)
    return directions[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0))


def _connected(antibody: NDArray[Any], line: NDArray[Any]) -> NDArray[np.bool_]:
    """Wells of the largest group of lines that shared antibodies connect."""
    if not len(line):
        return np.zeros(0, bool)
    lines, line_code = np.unique(line, return_inverse=True)
    antibodies, antibody_code = np.unique(antibody, return_inverse=True)
    held = sparse.csr_array((np.ones(len(line)), (antibody_code, line_code)), shape=(len(antibodies), len(lines)))
    _, group = sparse.csgraph.connected_components(held.T @ held, directed=False)
    # Of equally large groups the first, so that the choice is the same everywhere.
    inside = group[line_code] == np.bincount(group).argmax()
    several = np.bincount(
        np.unique(np.column_stack([antibody_code, line_code]), axis=0)[:, 0], minlength=len(antibodies)
    )
    return inside & (several[antibody_code] > 1)


def _traits(obs: pd.DataFrame, lines: Sequence[str]) -> dict[str, NDArray[np.floating]]:
    """Similarity of lines (minus their distance) in mean cell area and in cells a field, where these are known."""
    found = {}
    for name, column in (("area", "cell_area_um2"), ("density", "cells_in_field")):
        if column not in obs:
            continue
        means = np.log(pd.to_numeric(obs[column], errors="coerce").groupby(obs["cell_line"].astype(object)).mean())
        values = means.reindex(list(lines)).to_numpy(float)
        if np.isfinite(values).all() and np.ptp(values) > 0:
            found[name] = -np.abs(values[:, None] - values)
    return found
