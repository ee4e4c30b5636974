"""What the neighbours of a unit say of it: predicted locations, transferred terms, disagreement with its labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import average_precision_score

from subcell.atlas.knowledge.chance import adjust, at_least
from subcell.atlas.knowledge.enrichment import Limits
from subcell.atlas.knowledge.gene_sets import Membership
from subcell.names import names_in

COLUMNS = (
    *("unit", "gene", "locations", "predicted_locations", "predicted_q_values", "disagrees"),
    *("transferred_terms", "transferred_q_values"),
)
"""Columns of annotation.tsv."""

TEST_COLUMNS = (
    "source",
    "method",
    "units",
    "terms",
    "average_precision",
    "precision_at_fdr",
    "recall_at_fdr",
    "predicted",
)
"""Columns of annotation_test.tsv."""

FOLDS = 5
"""A fifth of the genes is hidden at a time, so that each is hidden once."""

NEIGHBOURS = 15
MOST_TERMS = 20


def nearest(distances: sparse.csr_array, obs: pd.DataFrame, *, most: int = NEIGHBOURS) -> sparse.csr_array:
    """The nearest neighbours of each unit that share neither antibody nor gene with it, (N, N) of 0 and 1."""
    named = [obs[column].astype(object).map(names_in) for column in ("gene", "antibody") if column in obs]
    names = [frozenset().union(*of_one) for of_one in zip(*named, strict=True)] if named else [frozenset()] * len(obs)
    distances = sparse.csr_array(distances)
    rows, columns = [], []
    for row in range(distances.shape[0]):
        start, stop = distances.indptr[row], distances.indptr[row + 1]
        order = np.lexsort((distances.indices[start:stop], distances.data[start:stop]))
        others = [int(other) for other in distances.indices[start:stop][order] if other != row]
        kept = [other for other in others if not names[row] & names[other]][:most]
        rows += [row] * len(kept)
        columns += kept
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=distances.shape)


def vote(
    near: sparse.csr_array, member: Membership, limits: Limits, *, hidden: NDArray[np.bool_] | None = None
) -> pd.DataFrame:
    """Test for each unit and term whether more of its neighbours have the term than chance gives.

    Parameters
    ----------
    near : see `nearest`
    member : terms of the units
    limits : terms of other sizes are left out
    hidden : (N,) units whose terms are not known; only they are voted on. None: every unit, its own terms set aside

    Returns
    -------
    unit, term (numbers), hits, p_value, q_value (Benjamini-Hochberg over all units and terms) of pairs with a hit
    """
    known = member.tested if hidden is None else member.tested & ~hidden
    has = sparse.csr_array(member.has * known[:, None])
    totals = np.asarray(has.sum(axis=0), int).ravel()
    terms = np.flatnonzero((totals >= limits.min_term) & (totals <= limits.max_term))
    asked = np.arange(len(known)) if hidden is None else np.flatnonzero(hidden)
    voters = np.asarray((near * known[None, :]).sum(axis=1), int).ravel()
    hits = (near[asked] @ has[:, terms]).tocoo()
    row, column = hits.coords
    row = asked[row]
    own = np.zeros(len(row), int)
    if hidden is None and len(row):  # scipy gives another type for no places at all
        own = np.asarray(has[row, terms[column]], int).ravel()
    p_values = at_least(hits.data, known.sum() - known[row], totals[terms[column]] - own, voters[row])
    return pd.DataFrame(
        {
            "unit": row,
            "term": terms[column],
            "hits": hits.data.astype(int),
            "p_value": p_values,
            "q_value": adjust(p_values, len(asked) * len(terms)),
        }
    )


def annotate(
    obs: pd.DataFrame,
    near: sparse.csr_array,
    locations: Membership | None,
    sources: Sequence[Membership],
    limits: Limits,
) -> pd.DataFrame:
    """Predicted locations and transferred terms of every unit, `COLUMNS`.

    Several values are joined by ";", the most certain first. `disagrees` is True where locations are predicted and the
    unit's own labels have none of them, and empty where either is missing.
    """
    predicted = _by_unit(near, [locations] if locations is not None else [], limits, len(obs), named=False)
    transferred = _by_unit(near, sources, limits, len(obs), named=True)
    own = [names_in(value) for value in obs["locations"].astype(object)] if "locations" in obs else [[]] * len(obs)
    rows = []
    for row, unit in enumerate(obs.index):
        places = [term for term, _ in predicted[row]]
        rows.append(
            {
                "unit": unit,
                "gene": obs["gene"].iloc[row] if "gene" in obs else None,
                "locations": ";".join(own[row]),
                "predicted_locations": ";".join(places),
                "predicted_q_values": ";".join(f"{q:.3g}" for _, q in predicted[row]),
                "disagrees": str(not set(places) & set(own[row])) if places and own[row] else "",
                "transferred_terms": ";".join(term.replace(";", ",") for term, _ in transferred[row]),
                "transferred_q_values": ";".join(f"{q:.3g}" for _, q in transferred[row]),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _by_unit(
    near: sparse.csr_array, members: Sequence[Membership], limits: Limits, units: int, *, named: bool
) -> list[list[tuple[str, float]]]:
    found: list[list[tuple[float, float, str]]] = [[] for _ in range(units)]
    for member in members:
        table = vote(near, member, limits)
        for row in table[table["q_value"] <= limits.alpha].itertuples():
            term = member.terms[row.term]
            found[row.unit].append((row.q_value, row.p_value, f"{member.name}: {term}" if named else term))
    return [[(term, q) for q, _, term in sorted(of_one)[:MOST_TERMS]] for of_one in found]


def score_by_hiding(
    obs: pd.DataFrame,
    near: sparse.csr_array,
    random: sparse.csr_array,
    members: Sequence[Membership],
    limits: Limits,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Hide the terms of a fifth of the genes at a time and predict them from the others.

    Parameters
    ----------
    obs : table of the units; those that share a gene are hidden together
    near, random : neighbours on the map, and among random vectors
    members, limits : see `vote`
    seed : of the folds

    Returns
    -------
    `TEST_COLUMNS`: for each source the map, its label frequencies and random vectors, over all hidden units and terms
    """
    gene = obs["gene"].astype(object) if "gene" in obs else pd.Series(obs.index, index=obs.index)
    group = _groups(gene.fillna(pd.Series(obs.index, index=obs.index)))
    fold = np.random.default_rng(seed).permutation(group.max(initial=-1) + 1)[group] % FOLDS
    rows = []
    for member in members:
        scores: dict[str, list[NDArray[np.floating]]] = {"map": [], "label frequency": [], "random embedding": []}
        called: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in scores}
        truth, hidden_units, terms_seen = [], 0, 0
        for number in range(FOLDS):
            hidden = (fold == number) & member.tested
            known = member.tested & ~hidden
            totals = np.asarray(member.has[known].sum(axis=0), int).ravel()
            terms = np.flatnonzero((totals >= limits.min_term) & (totals <= limits.max_term))
            if not hidden.any() or not len(terms):
                continue
            place = np.cumsum(hidden) - 1
            column = np.full(len(totals), -1)
            column[terms] = np.arange(len(terms))
            truth.append(member.has[hidden][:, terms].toarray().ravel() > 0)
            hidden_units, terms_seen = hidden_units + int(hidden.sum()), max(terms_seen, len(terms))
            frequent = np.tile(totals[terms] / known.sum(), (int(hidden.sum()), 1))
            scores["label frequency"].append(frequent.ravel())
            called["label frequency"].append(np.zeros(frequent.size, bool))
            for name, graph in (("map", near), ("random embedding", random)):
                table = vote(graph, member, limits, hidden=hidden)
                score, call = np.zeros(frequent.shape), np.zeros(frequent.shape, bool)
                at = place[table["unit"]], column[table["term"]]
                score[at] = -np.log10(np.maximum(table["p_value"], 1e-300))
                call[at] = table["q_value"] <= limits.alpha
                scores[name].append(score.ravel())
                called[name].append(call.ravel())
        if not truth or not np.concatenate(truth).any():
            continue
        real = np.concatenate(truth)
        for name in scores:
            score, call = np.concatenate(scores[name]), np.concatenate(called[name])
            rows.append(
                {
                    "source": member.name,
                    "method": name,
                    "units": hidden_units,
                    "terms": terms_seen,
                    "average_precision": float(average_precision_score(real, score)),
                    "precision_at_fdr": float(real[call].mean()) if call.any() else np.nan,
                    "recall_at_fdr": float(call[real].mean()),
                    "predicted": int(call.sum()),
                }
            )
    return pd.DataFrame(rows, columns=list(TEST_COLUMNS))


def _groups(genes: pd.Series) -> NDArray[np.int_]:
    """A number for each unit, the same for units that share a gene, directly or through others."""
    number: dict[str, int] = {}
    rows, columns = [], []
    for row, names in enumerate(genes):
        for name in names_in(str(names)) or [""]:
            rows.append(row)
            columns.append(number.setdefault(name, len(number)))
    shares = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(genes), len(number)))
    return np.asarray(sparse.csgraph.connected_components(shares @ shares.T, directed=False)[1], int)
