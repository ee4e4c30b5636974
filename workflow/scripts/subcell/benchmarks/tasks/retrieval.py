"""Retrieval: whether a protein looks like itself elsewhere, which the protein-specific objective promises."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.guards.leakage import check_split
from subcell.benchmarks.guards.name_codes import name_codes
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.statistics.bootstrap import bootstrap_mean, units_key
from subcell.benchmarks.statistics.metrics import tied_precision
from subcell.benchmarks.statistics.result import Metric, Result, as_metric, kept, not_run, write_result
from subcell.names import names_in

BENCHMARK = "retrieval"
UNIT = "gene"
DEALT = "field_id"
ACROSS_LINES, INDEPENDENT = "across_lines_map", "independent_antibody_map"
MOST_DISTRACTORS = 200
NULLS = 999
BLOCK_NUMBERS = 2**22


@dataclass(frozen=True)
class Queries:
    """Questions to a table of profiles, each with one right answer.

    Attributes
    ----------
    query, answer : (Q,) rows of profiles
    distractors : (Q, most) rows of profiles, -1 where there are fewer
    unit : (Q,) gene of each
    """

    query: NDArray[np.int_]
    answer: NDArray[np.int_]
    distractors: NDArray[np.int_]
    unit: NDArray[Any]

    def __len__(self) -> int:
        return len(self.query)

    @property
    def candidates(self) -> NDArray[np.int_]:
        """(Q,) the answer and its distractors."""
        return 1 + (self.distractors >= 0).sum(axis=1)


def run(
    cells: str | Path,
    *,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    split_by: str = "gene",
    bootstraps: int = 1000,
    min_test_antibodies: int = 3,
    seed: int = 42,
    **_other: Any,
) -> Result:
    """Rank profiles by their cosine to the profile of a held-out protein.

    A profile is the mean vector of the cells of one antibody in one line, less the mean of the profiles of training
    proteins in that line. Two questions are asked: `across_lines_map`, the same antibody in another line; and
    `independent_antibody_map`, another antibody of the gene in the same line. The distractors are profiles of other genes
    in the line of the answer that share a location with the query, so that knowing the location does not help. Each
    question has one right answer, whose average precision is 1 / its rank; a gene's score is the mean over its questions.

    Parameters and result are those of `localization.run`; obs needs `gene`, `antibody`, `cell_line`, `locations`. The p value
    in `details` is the share of `NULLS` orders, in which profiles are exchanged within each line, with a score as high.
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    table = frozen.read_cells(cells)
    missing = [name for name in ("gene", "antibody", "cell_line", "locations") if table.column(name).isna().all()]
    if missing:
        return write_result(not_run(f"needs {', '.join(missing)}", **names), out_json, out_parquet)
    vectors, profiles = profiles_of(table)
    check_split(table.obs, table.column("split"), by=split_by, where=f"{dataset}, retrieval")
    asked = {
        ACROSS_LINES: questions(profiles, across_lines=True),
        INDEPENDENT: questions(profiles, across_lines=False),
    }
    genes = {name: len(np.unique(found.unit)) for name, found in asked.items()}
    if genes[ACROSS_LINES] < min_test_antibodies:
        reason = (
            f"needs {min_test_antibodies} held-out genes that were stained in two lines beside another gene with the same "
            f"location (found {genes[ACROSS_LINES]})"
        )
        return write_result(not_run(reason, **names), out_json, out_parquet)
    similarity = cosines(centred(vectors, profiles))
    metrics: list[Metric] = []
    details: dict[str, Any] = {"profiles": len(profiles), "scores_not_given": {}}
    tables = []
    for name, found in asked.items():
        if genes[name] < min_test_antibodies:
            details["scores_not_given"][name] = (
                f"needs {min_test_antibodies} held-out genes with two antibodies in one line (found {genes[name]})"
            )
            continue
        precision = average_precisions(similarity, found)
        of_gene = pd.Series(precision).groupby(found.unit).mean().sort_index()
        estimate = bootstrap_mean(of_gene, bootstraps=bootstraps, seed=seed, bounds=(0, 1))
        expected = pd.Series(expected_precision(found.candidates)).groupby(found.unit).mean()
        metrics.append(as_metric(name, estimate, chance=float(expected.mean()), n=len(of_gene), unit=UNIT))
        if name == ACROSS_LINES:
            resampled = {name: kept(estimate)}
            key = units_key(of_gene.index)
        details[name] = {
            "questions": len(found),
            "candidates_median": float(np.median(found.candidates)),
            "p_value": permutation_p(similarity, found, profiles["cell_line"].to_numpy(str), orders=NULLS, seed=seed),
        }
        tables.append(_table(name, profiles, found, precision))
    result = Result(
        **names,
        metrics=metrics,
        replicates=resampled,
        units_key=key,
        settings={
            "task": "profiles (mean of an antibody's cells in a line) of held-out genes find the same antibody in another "
            "line, and another antibody of the gene in the same line",
            "cells": "those of held-out genes, among those of all",
            "distractors": f"profiles of other genes in the line of the answer that share a location, at most {MOST_DISTRACTORS}",
            "similarity": "cosine, after the mean of the line's training profiles was subtracted",
            "chance": "mean of 1 / rank over all orders of the candidates",
            "interval": f"95%, standard error of {bootstraps} bootstrap resamples of genes",
            "seed": seed,
        },
        details=details,
    )
    return write_result(result, out_json, out_parquet, pd.concat(tables, ignore_index=True))


def profiles_of(table: frozen.Cells) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Mean vector of the cells of each antibody in each line, (P, D), and what is known of it.

    Cells without gene, antibody, line or side of the split are left out.
    """
    columns = ("gene", "antibody", "cell_line", "split")
    about = pd.DataFrame({name: table.column(name).to_numpy(object) for name in (*columns, "locations")})
    known = about[list(columns)].notna().all(axis=1).to_numpy()
    groups = about[known].groupby(["antibody", "cell_line"], sort=True)
    codes = np.full(len(known), -1)
    codes[known] = groups.ngroup()
    means = frozen.group_means(table.features, codes, groups.ngroups)
    return means.astype(np.float32), groups.first().reset_index()


def centred(vectors: NDArray[np.float32], profiles: pd.DataFrame) -> NDArray[np.float32]:
    """Profiles less the mean of their line's training profiles, or of all its profiles where none trains."""
    result = np.array(vectors)
    lines, trains = profiles["cell_line"].to_numpy(str), (profiles["split"] == "train").to_numpy()
    for line in np.unique(lines):
        here = lines == line
        result[here] -= vectors[here & trains if (here & trains).any() else here].mean(axis=0)
    return result


def cosines(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of every pair, (P, P); 0 with a vector of zeros."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1)
    return np.asarray(unit @ unit.T, np.float32)


def questions(profiles: pd.DataFrame, *, across_lines: bool) -> Queries:
    """All questions about held-out genes that have at least one distractor.

    Of two profiles that could ask for each other one asks, chosen by a hash: the second question would be nearly the same.
    """
    names = profiles[["gene", "antibody", "cell_line"]].to_numpy(str)
    places, genes = ([frozenset(names_in(text)) for text in profiles[name]] for name in ("locations", "gene"))
    found: list[tuple[int, int, list[int]]] = []
    for _, rows in profiles[(profiles["split"] == "test").to_numpy()].groupby("gene", sort=True):
        for one in rows.index:
            for other in rows.index:
                same_antibody, same_line = (names[one, c] == names[other, c] for c in (1, 2))
                wanted = same_antibody and not same_line if across_lines else same_line and not same_antibody
                if not wanted or not _asks(names[one], names[other]):
                    continue
                others = np.flatnonzero(names[:, 2] == names[other, 2])
                # An antibody of several genes is none of another gene than any of them.
                matched = [int(row) for row in others if places[row] & places[one] and not genes[row] & genes[one]]
                if matched:
                    found.append((one, other, _some(matched, names)))
    most = max((len(distractors) for _, _, distractors in found), default=0)
    padded = np.full((len(found), most), -1)
    for number, (_, _, distractors) in enumerate(found):
        padded[number, : len(distractors)] = distractors
    query, answer = (np.array([entry[side] for entry in found], int) for side in (0, 1))
    return Queries(query, answer, padded, names[query, 0] if len(found) else np.zeros(0, str))


def average_precisions(similarity: NDArray[np.floating], asked: Queries) -> NDArray[np.float64]:
    """(Q,) 1 / rank of each answer, its mean over the orders of distractors that are as similar."""
    return _precisions(similarity, asked, np.arange(len(similarity))[None])[0]


def expected_precision(candidates: NDArray[np.int_]) -> NDArray[np.float64]:
    """Mean of 1 / rank over all ranks of as many candidates."""
    return np.asarray(tied_precision(0, 0, 1, candidates), np.float64)


def permutation_p(
    similarity: NDArray[np.floating], asked: Queries, lines: NDArray[Any], *, orders: int, seed: int = 0
) -> float:
    """Share of random orders with a mean score over genes at least as high; the profiles of a line are exchanged.

    The orders keep what the questions of a gene, and questions with the same distractors, have in common.
    """
    rng = np.random.default_rng(seed)
    weights = (1 / pd.Series(asked.unit).groupby(asked.unit).transform("size")).to_numpy()
    observed = float(average_precisions(similarity, asked) @ weights)
    tried = np.tile(np.arange(len(similarity)), (orders, 1))
    for line in np.unique(lines):
        rows = np.flatnonzero(lines == line)
        tried[:, rows] = rng.permuted(tried[:, rows], axis=1)
    block = max(1, BLOCK_NUMBERS // max(1, asked.distractors.size))
    reached = sum(
        int((_precisions(similarity, asked, tried[start : start + block]) @ weights >= observed - 1e-12).sum())
        for start in range(0, orders, block)
    )
    return (reached + 1) / (orders + 1)


def perfect_features(obs: pd.DataFrame) -> NDArray[np.float32]:
    """The gene of each cell, see `name_codes`."""
    return name_codes(obs["gene"])


def _precisions(similarity: NDArray[np.floating], asked: Queries, orders: NDArray[np.int_]) -> NDArray[np.float64]:
    """(orders, Q) precision when the profile in row r is that of row orders[:, r]."""
    query, answer = orders[:, asked.query], orders[:, asked.answer]
    right = similarity[query, answer][:, :, None]
    there = asked.distractors >= 0
    wrong = similarity[query[:, :, None], orders[:, asked.distractors]]
    above, tied = (of.sum(axis=2) for of in ((wrong > right) & there, (wrong == right) & there))
    return np.asarray(tied_precision(0, above, 1, 1 + tied) if tied.any() else 1 / (1 + above))


def _asks(one: NDArray[Any], other: NDArray[Any]) -> bool:
    first, second = ("\n".join(part) for part in (one, other))
    order = hashlib.sha256("\n\n".join(sorted((first, second))).encode()).digest()[0] % 2
    return (first < second) == bool(order)


def _some(rows: Iterable[int], names: NDArray[Any]) -> list[int]:
    """At most `MOST_DISTRACTORS`, chosen by a hash of their antibody."""
    hashes = {row: hashlib.sha256("\n".join(names[row]).encode()).digest() for row in rows}
    return sorted(hashes, key=lambda row: hashes[row])[:MOST_DISTRACTORS]


def _table(name: str, profiles: pd.DataFrame, asked: Queries, precision: NDArray[np.floating]) -> pd.DataFrame:
    """A row a question."""
    about = profiles[["antibody", "cell_line"]]
    return pd.DataFrame(
        {
            "unit": asked.unit,
            "question": name,
            "antibody": about["antibody"].to_numpy(object)[asked.query],
            "cell_line": about["cell_line"].to_numpy(object)[asked.query],
            "answer_antibody": about["antibody"].to_numpy(object)[asked.answer],
            "answer_cell_line": about["cell_line"].to_numpy(object)[asked.answer],
            "candidates": asked.candidates,
            "average_precision": precision,
        }
    )
