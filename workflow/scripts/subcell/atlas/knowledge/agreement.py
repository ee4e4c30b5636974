"""How far clusters keep related units together: shared locations, complexes, interactions, published clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from subcell.atlas.clusters.hierarchy import Partitions
from subcell.atlas.clusters.leiden import adjusted_rand
from subcell.atlas.knowledge.gene_sets import Membership
from subcell.atlas.knowledge.interactions import read_interactions
from subcell.errors import SheetError
from subcell.names import names_in

COLUMNS = ("level", "resolution", "clusters", "reference", "measure", "value", "shuffled", "random", "pairs")
"""Columns of agreement.tsv; `level` is empty at resolutions between the levels of the map. Levels and plain clusters of one
graph make one curve over `clusters`, whatever the method."""

MOST_PAIRS = 5_000_000
"""With more related pairs, pairs are drawn."""

DRAWN_PAIRS = 400_000

TOGETHER = "share of related pairs in one cluster"


@dataclass(frozen=True)
class Pairs:
    """Pairs of units that are related.

    Attributes
    ----------
    name : what relates them
    rows : (P, 2) numbers of units, each pair once
    among : (units,) the units of which the reference knows anything, from which chance is computed
    """

    name: str
    rows: NDArray[np.int_]
    among: NDArray[np.bool_]


def sharing(member: Membership, obs: pd.DataFrame, *, seed: int = 0) -> Pairs:
    """Pairs of tested units that share a term, those that share an antibody or a gene left out."""
    has = sparse.csr_array(member.has * member.tested[:, None])
    totals = np.asarray(has.sum(axis=0)).ravel()
    if (totals**2).sum() <= MOST_PAIRS:
        rows = np.column_stack(sparse.triu(has @ has.T, k=1).tocoo().coords)
    else:
        tested = np.flatnonzero(member.tested)
        drawn = np.random.default_rng(seed).choice(tested, size=(DRAWN_PAIRS, 2))
        drawn = np.unique(np.sort(drawn[drawn[:, 0] != drawn[:, 1]], axis=1), axis=0)
        together = np.asarray((has[drawn[:, 0]] * has[drawn[:, 1]]).sum(axis=1)).ravel()
        rows = drawn[together > 0]
    return Pairs(member.name, _without_common_images(rows, obs), member.tested)


def interacting(
    path: str | Path, name: str, obs: pd.DataFrame, *, min_score: float = 0, aliases: str | Path | None = None
) -> Pairs:
    """Pairs of units whose genes interact.

    Parameters
    ----------
    path, aliases : see `subcell.atlas.knowledge.interactions.read_interactions`
    name : of the reference
    obs : table of the units; a unit has the genes of its `gene`
    min_score : interactions with a lower score are left out

    Raises
    ------
    SheetError : the file cannot be read so; the message names the row
    """
    units: dict[str, list[int]] = {}
    for row, genes in enumerate(obs["gene"].astype(object) if "gene" in obs else ()):
        for gene in names_in(genes):
            units.setdefault(gene, []).append(row)
    found, known = set(), np.zeros(len(obs), bool)
    for one, other, score in read_interactions(path, aliases=aliases):
        for gene in (one, other):
            known[units.get(gene, [])] = True
        if score >= min_score:
            found |= {(min(a, b), max(a, b)) for a in units.get(one, ()) for b in units.get(other, ()) if a != b}
    rows = np.array(sorted(found), int).reshape(-1, 2)
    return Pairs(name, _without_common_images(rows, obs), known)


def _without_common_images(rows: NDArray[np.int_], obs: pd.DataFrame) -> NDArray[np.int_]:
    """Pairs that share an antibody (or a gene, where a unit is less than a gene) lie together for that alone."""
    keep = np.ones(len(rows), bool)
    for column in ("antibody", "gene"):
        if column in obs:
            names = [frozenset(names_in(value)) for value in obs[column].astype(object)]
            keep &= np.array([not names[a] & names[b] for a, b in rows], bool)
    return rows[keep]


def read_published(path: str | Path, obs: pd.DataFrame) -> dict[int, pd.Series]:
    """Published clusters of genes: a table with Gene (or `gene`, `gene_names`, or the first column) and Cluster_level_1...

    Returns
    -------
    level -> (units,) cluster of each unit, missing where the gene has none

    Raises
    ------
    SheetError : the table has no such columns
    """
    try:
        table = pd.read_csv(path, sep=None, engine="python", dtype=str)
    except (OSError, ValueError) as problem:
        raise SheetError(f"{path}: cannot be read as a table ({problem})") from None
    gene = next((name for name in ("gene", "Gene", "gene_names") if name in table), table.columns[0])
    levels = {name: name.rsplit("_", 1)[-1] for name in table if name.lower().startswith("cluster_level_")}
    if not levels:
        raise SheetError(f"{path}: columns {', '.join(table.columns[:6])}; expected {gene} and Cluster_level_1, 2 ...")
    by_gene = table.drop_duplicates(gene).set_index(gene)
    units = obs["gene"].astype(object) if "gene" in obs else pd.Series(obs.index, index=obs.index)
    return {int(level): units.map(by_gene[name]) for name, level in levels.items() if level.isdigit()}


def agreement_rows(
    partitions: Partitions,
    resolutions: Sequence[float],
    levels: Sequence[int | None],
    references: Sequence[Pairs],
    *,
    random: Partitions | None = None,
    published: dict[int, pd.Series] | None = None,
) -> pd.DataFrame:
    """Compare partitions with what is known.

    Parameters
    ----------
    partitions : (P, N) at rising resolutions
    resolutions, levels : (P,) of each; None where it is no level of the map
    references : related pairs
    random : (P, N) clusters of the same sizes among random vectors
    published : see `read_published`; compared with the level of the same number by adjusted Rand index

    Returns
    -------
    `COLUMNS`; `shuffled` is what shuffled labels give on average, `random` what clusters of the same sizes give among
    random vectors
    """
    rows = []
    for place, (labels, resolution, level) in enumerate(zip(partitions, resolutions, levels, strict=True)):
        for pairs in references:
            if not len(pairs.rows):
                continue
            sizes = np.bincount(labels[pairs.among])
            units = sizes.sum()
            rows.append(
                {
                    "level": level,
                    "resolution": resolution,
                    "clusters": int(labels.max(initial=-1)) + 1,
                    "reference": pairs.name,
                    "measure": TOGETHER,
                    "value": _together(labels, pairs.rows),
                    "shuffled": float((sizes * (sizes - 1.0)).sum() / (units * (units - 1.0))),
                    "random": _together(random[place], pairs.rows) if random is not None else np.nan,
                    "pairs": len(pairs.rows),
                }
            )
        if published and level in published:
            there = published[level].notna().to_numpy()
            ours, theirs = labels[there], pd.factorize(published[level][there])[0]
            rows.append(
                {
                    "level": level,
                    "resolution": resolution,
                    "clusters": int(labels.max(initial=-1)) + 1,
                    "reference": "published clusters",
                    "measure": "adjusted Rand index",
                    "value": adjusted_rand(ours, theirs),
                    "shuffled": 0.0,
                    "random": adjusted_rand(random[place][there], theirs) if random is not None else np.nan,
                    "pairs": int(there.sum()),
                }
            )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"level": "Int64"})


def _together(labels: NDArray[np.int_], pairs: NDArray[np.int_]) -> float:
    return float((labels[pairs[:, 0]] == labels[pairs[:, 1]]).mean())
