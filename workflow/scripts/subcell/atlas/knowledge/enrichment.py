"""Which terms clusters are rich in, against the tested units, beside controls that must find nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from subcell.atlas.clusters.hierarchy import Partitions
from subcell.atlas.knowledge.chance import adjust, at_least
from subcell.atlas.knowledge.gene_sets import Membership

COLUMNS = (
    *("level", "cluster", "source", "term", "hits", "size", "term_size", "tested"),
    *("fold", "log2_odds", "p_value", "q_value", "shuffled_p", "independent", "negative_control"),
)
"""Columns of enrichment.tsv."""

CONTROL_COLUMNS = (
    *("level", "source", "independent", "negative_control", "tested", "terms", "clusters"),
    *("significant", "clusters_enriched", "shuffled_significant", "shuffled_any", "random_significant"),
)
"""Columns of enrichment_controls.tsv."""

BEST = 3
"""Terms of a cluster and source that are listed even where they are not significant."""


@dataclass(frozen=True)
class Limits:
    """What is tested.

    Attributes
    ----------
    min_term, max_term : units that a term may have on the map
    min_cluster : tested units that a cluster must have
    alpha : false discovery rate
    shuffles : times that labels are shuffled
    """

    min_term: int = 3
    max_term: int = 2000
    min_cluster: int = 3
    alpha: float = 0.05
    shuffles: int = 10


def count_and_test(labels: NDArray[np.int_], member: Membership, limits: Limits) -> pd.DataFrame:
    """Test every cluster of a level against every term of a source.

    The background are the tested units: those on the map of which the source says anything, one for each antibody
    and gene (`subcell.atlas.knowledge.gene_sets.one_per_protein`).

    Parameters
    ----------
    labels : (N,) cluster of each unit, from 0
    member : terms of the same units
    limits : sizes that are tested

    Returns
    -------
    a row for each pair of a cluster and a term that share a unit, columns cluster (from 0), term, hits, size (tested
    units of the cluster), term_size, tested, fold (of the share expected by chance), log2_odds (with half a unit added
    to each count), p_value (of at least as many, hypergeometric), q_value (Benjamini-Hochberg over all pairs of the
    level, those without a common unit included)
    """
    chosen = member.tested
    labels, has = labels[chosen], member.has[chosen]
    sizes = np.bincount(labels, minlength=1)
    totals = np.asarray(has.sum(axis=0), int).ravel()
    terms = np.flatnonzero((totals >= limits.min_term) & (totals <= limits.max_term))
    clusters = np.flatnonzero(sizes >= limits.min_cluster)
    tested = len(labels)
    columns = ["cluster", "term", "hits", "size", "term_size", "tested", "fold", "log2_odds", "p_value", "q_value"]
    if not len(terms) or not len(clusters):
        return pd.DataFrame(columns=columns)
    indicator = sparse.csr_array((np.ones(tested), (labels, np.arange(tested))), shape=(len(sizes), tested))
    hits = (indicator[clusters] @ has[:, terms]).tocoo()
    row, column = hits.coords
    shared = hits.data.astype(int)
    size, total = sizes[clusters[row]], totals[terms[column]]
    p_values = at_least(shared, tested, total, size)
    # Pairs without a common unit were tested too: leaving them out would make the others look better than they are.
    q_values = adjust(p_values, len(clusters) * len(terms))
    a, b, c = shared + 0.5, size - shared + 0.5, total - shared + 0.5
    d = tested - size - total + shared + 0.5
    return pd.DataFrame(
        {
            "cluster": clusters[row],
            "term": [member.terms[term] for term in terms[column]],
            "hits": shared,
            "size": size,
            "term_size": total,
            "tested": tested,
            "fold": shared * tested / (size * total),
            "log2_odds": np.log2(a * d / (b * c)),
            "p_value": p_values,
            "q_value": q_values,
        }
    )


def enrich_levels(
    partitions: Partitions,
    members: Sequence[Membership],
    limits: Limits,
    *,
    random: Partitions | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test all levels and sources, and the same with shuffled labels and with clusters of random vectors.

    Parameters
    ----------
    partitions : (levels, N) clusters of the map
    members : terms of the units, a source each
    limits : what is tested
    random : (levels, N) clusters of the same sizes among random vectors
    seed : of shuffling

    Returns
    -------
    enrichment : `COLUMNS`, level and cluster from 1; of each cluster and source the significant terms and the `BEST`;
        shuffled_p is the share of shuffles whose best p-value of the level and source is at least as small
    controls : `CONTROL_COLUMNS`, a row a level and source: pairs of cluster and term at the false discovery rate, in
        the map, on average over shuffles, share of shuffles with any, and in random vectors
    """
    rng = np.random.default_rng(seed)
    tables, summary = [], []
    for number, labels in enumerate(partitions, start=1):
        shuffled = [rng.permutation(labels) for _ in range(limits.shuffles)]
        for member in members:
            real = count_and_test(labels, member, limits)
            null = [count_and_test(other, member, limits) for other in shuffled]
            chance = count_and_test(random[number - 1], member, limits) if random is not None else None
            best = np.array([table["p_value"].min() if len(table) else 1.0 for table in null])
            real["shuffled_p"] = (
                [(1 + np.sum(best <= p)) / (1 + len(best)) for p in real["p_value"]] if null else np.nan
            )
            about = {
                "level": number,
                "source": member.name,
                "independent": member.independent,
                "negative_control": member.control,
            }
            tables.append(_listed(real, limits).assign(**about))
            counts = [len(_significant(table, limits)) for table in null]
            hit = _significant(real, limits)
            totals = np.asarray(member.has[member.tested].sum(axis=0)).ravel()
            summary.append(
                about
                | {
                    "tested": int(member.tested.sum()),
                    "terms": int(((totals >= limits.min_term) & (totals <= limits.max_term)).sum()),
                    "clusters": int((np.bincount(labels[member.tested], minlength=1) >= limits.min_cluster).sum()),
                    "significant": len(hit),
                    "clusters_enriched": hit["cluster"].nunique(),
                    "shuffled_significant": float(np.mean(counts)) if counts else np.nan,
                    "shuffled_any": float(np.mean(np.array(counts) > 0)) if counts else np.nan,
                    "random_significant": len(_significant(chance, limits)) if chance is not None else np.nan,
                }
            )
    filled = [table for table in tables if len(table)]
    found = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS))
    if len(found):
        found["cluster"] = [str(cluster + 1) for cluster in found["cluster"]]
        found = found.reindex(columns=list(COLUMNS))
    return found, pd.DataFrame(summary, columns=list(CONTROL_COLUMNS))


def _significant(table: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    return table[table["q_value"] <= limits.alpha]


def _listed(table: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    ordered = table.sort_values(["cluster", "p_value", "fold", "term"], ascending=[True, True, False, True])
    place = ordered.groupby("cluster").cumcount()
    return ordered[(ordered["q_value"] <= limits.alpha) | (place < BEST)]


def best_terms(enrichment: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The term that names each cluster: significant, of the smallest p-value, then of the larger effect.

    Returns
    -------
    indexed by level and cluster: term, source, hits, size, q_value; clusters without a significant term are missing
    """
    columns = ["level", "cluster", "term", "source", "hits", "size", "fold", "p_value", "q_value"]
    usable = enrichment[~enrichment["negative_control"].astype(bool)]
    usable = usable[usable["q_value"].astype(float) <= alpha].sort_values(
        ["level", "cluster", "p_value", "log2_odds", "term"], ascending=[True, True, True, False, True]
    )
    return usable.drop_duplicates(["level", "cluster"])[columns].set_index(["level", "cluster"])
