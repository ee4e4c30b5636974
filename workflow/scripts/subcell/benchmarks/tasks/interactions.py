"""Interactions: whether proteins of one complex, or that interact, are more alike than others of their locations.

Protocol. A protein is the mean of its cells, after the mean of all cells of their line was taken out; antibodies of
several genes are left out. Related pairs come from complexes or lists of interactions. Each is put beside `negatives`
unrelated pairs in which one of its proteins is exchanged for one with the same locations (or the most alike there are), on a
plate with the other or not as before, and with about as many partners, so that none of these tells related pairs from
others; where a source says which proteins were tested (baits), one of each unrelated pair is among them. No pair shares an
antibody. Proteins are dealt to folds, complexes whole and the same locations together, and a pair belongs to a fold if both
its proteins do. Two scores: the cosine of the standardised vectors (`cosine_auroc` is the headline), and a logistic
regression on products and differences of principal components, trained on the pairs of the other folds, so that it has seen
neither protein. Average precision, and recall at a fixed precision, are stated at a fixed prevalence by weighting unrelated
pairs. The interval comes from resampling proteins: a pair counts as often as both of its proteins were drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from subcell.atlas.units.units import common_locations
from subcell.benchmarks.inputs.pairs import Drawn, Reference, draw_pairs, fold_of_genes, read_references
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.statistics.bootstrap import LEVEL, Estimate, bootstrap, units_key
from subcell.benchmarks.statistics.metrics import macro_ap, macro_auc
from subcell.benchmarks.statistics.result import Metric, Result, as_metric, kept, not_run, write_result
from subcell.names import names_in

BENCHMARK, UNIT = "interactions", "gene"
DEALT = "gene"
HEADLINE = "cosine_auroc"
TRUE_COMPLEXES = "complexes.tsv"
COMPONENTS = 32
LEAST_PAIRS = 10
PERFECT_FEATURES = 256


def run(
    cells: str | Path,
    *,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    files: Sequence[str | Path] = (),
    pairs: Sequence[Mapping[str, Any]] = (),
    truth: str | Path | None = None,
    negatives: int = 5,
    folds: int = 5,
    prevalence: float = 0.05,
    precision: float = 0.5,
    bootstraps: int = 1000,
    seed: int = 42,
    **_other: Any,
) -> Result:
    """Tell related pairs of proteins from others by a model's vectors.

    Parameters
    ----------
    cells : AnnData file of vectors; obs with `gene`, and `locations`, `plate`, `antibody`, `cell_line` where known
    out_json, out_parquet : see `subcell.benchmarks.statistics.result`; the table has one row a pair
    dataset, model, simulated : go into the result
    files : of related pairs, see `subcell.benchmarks.inputs.pairs.read_references`
    pairs : `name`, `min_score`, `baits` and `aliases` of each file; scores of the first keep their name, those of the
        others begin with the reference's
    truth : folder of what is true of a simulated dataset, whose complexes are read where no `files` are given
    negatives : unrelated pairs for each related one
    folds : of the classifier
    prevalence : of related pairs, at which average precision and recall are stated
    precision : at which recall is stated
    bootstraps, seed : of the resamples of proteins
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    known = _references(files, pairs, truth)
    if not known:
        return write_result(not_run("needs complexes or a list of interactions", **names), out_json, out_parquet)
    vectors, about = proteins(frozen.read_cells(cells))
    if len(about) < 2:
        return write_result(not_run("needs gene", **names), out_json, out_parquet)
    metrics: list[Metric] = []
    tables: list[pd.DataFrame] = []
    details: dict[str, Any] = {}
    headline: Estimate | None = None
    for place, reference in enumerate(known):
        drawn = _draw(reference, about, negatives=negatives, folds=folds, seed=seed)
        scored = int(drawn.related.sum())
        details[reference.name] = {
            "related_pairs": scored,
            "unrelated_pairs": int((~drawn.related).sum()),
            "proteins": len(np.unique(drawn.pairs)),
            "unrelated_pairs_matched": drawn.matched,
        }
        if scored < LEAST_PAIRS or drawn.related.all():
            details[reference.name]["not_scored"] = f"needs {LEAST_PAIRS} related pairs, and unrelated ones"
            if place == 0:
                found = f"{scored} with {int((~drawn.related).sum())} unrelated ones beside them"
                reason = f"needs {LEAST_PAIRS} related pairs of proteins in {reference.name} (found {found})"
                return write_result(not_run(reason, **names), out_json, out_parquet)
            continue
        scores = {
            "cosine": cosine_scores(vectors, drawn.pairs),
            "classifier": classifier_scores(vectors, drawn, seed=seed),
        }
        prefix = "" if place == 0 else f"{reference.name}_"
        rows, first = _score(
            scores, drawn, prefix=prefix, prevalence=prevalence, precision=precision, bootstraps=bootstraps, seed=seed
        )
        metrics += rows
        headline = headline or first
        genes = about.index.to_numpy(str)
        tables.append(
            pd.DataFrame(
                {
                    "unit": genes[drawn.pairs[:, 0]] + "|" + genes[drawn.pairs[:, 1]],
                    "reference": reference.name,
                    "related": drawn.related,
                    "fold": drawn.fold,
                    **scores,
                }
            )
        )
    assert headline is not None
    scored_genes = {gene for unit in tables[0]["unit"] for gene in unit.split("|")}
    result = Result(
        **names,
        metrics=metrics,
        replicates={HEADLINE: kept(headline)},
        units_key=units_key(scored_genes),
        settings={
            "task": "related pairs of proteins among pairs matched by locations, plate and number of partners",
            "cells": "those of all proteins, also of those that trained a network",
            "references": [reference.name for reference in known],
            "unrelated_for_each": negatives,
            "folds": f"{folds}; related proteins together, both proteins of a pair unseen by its classifier",
            "prevalence": prevalence,
            "precision_of_recall": precision,
            "interval": f"{LEVEL:.0%}, standard error of {bootstraps} bootstrap resamples of proteins",
            "seed": seed,
        },
        details=details,
    )
    return write_result(result, out_json, out_parquet, pd.concat(tables, ignore_index=True))


def perfect_features(
    obs: pd.DataFrame,
    *,
    files: Sequence[str | Path] = (),
    pairs: Sequence[Mapping[str, Any]] = (),
    truth: str | Path | None = None,
) -> NDArray[np.float32]:
    """What a perfect model would see: whom each protein of the first reference is related to, folded into few columns."""
    known_references = _references(files, pairs, truth)
    if not known_references:
        return np.zeros((len(obs), 1), np.float32)
    reference = known_references[0]
    genes = sorted({gene for pair in reference.pairs for gene in pair} | set(obs["gene"].dropna()))
    number = {gene: place for place, gene in enumerate(genes)}
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (len(genes), PERFECT_FEATURES))
    rows = np.array([(number[one], number[other]) for one, other in sorted(reference.pairs)], int).reshape(-1, 2)
    one = sparse.coo_array((np.ones(len(rows)), (rows[:, 0], rows[:, 1])), shape=(len(genes), len(genes)))
    seen = (one + one.T + sparse.eye_array(len(genes))) @ signs
    codes = obs["gene"].astype(object).map(number)
    known = codes.notna().to_numpy()
    values = np.zeros((len(obs), PERFECT_FEATURES), np.float32)
    values[known] = seen[codes[known].astype(int)]
    return values


def proteins(cells: frozen.Cells) -> tuple[NDArray[np.floating], pd.DataFrame]:
    """One vector a gene, and what unrelated pairs are matched by.

    Returns
    -------
    vectors : (genes, D), each column of mean 0 and deviation 1
    about : index gene, sorted; sets `locations`, `plates` and `antibodies`
    """
    gene, line = cells.column("gene"), cells.column("cell_line").fillna("")
    single = (gene.notna() & ~gene.fillna("").str.contains(";")).to_numpy()
    if not single.any():
        return np.zeros((0, 1)), pd.DataFrame()
    codes, names = pd.factorize(gene.where(single), sort=True)
    line_codes, lines = pd.factorize(line.where(single), sort=True)
    # The mean of cells that have lost the mean of their line, without another copy of all cells.
    share = pd.crosstab(codes[single], line_codes[single], normalize="index").to_numpy()
    whole = frozen.group_means(cells.features, codes, len(names))
    means = whole - share @ frozen.group_means(cells.features, line_codes, len(lines))
    spread = means.std(axis=0)
    # What differs by line alone is rounding now, not to be blown up.
    flat = spread <= 1e-9 * np.abs(whole).max(axis=0)
    vectors = np.where(flat, 0, (means - means.mean(axis=0)) / np.where(flat, 1, spread))
    part = pd.DataFrame({name: cells.column(name)[single] for name in ("locations", "plate", "antibody")})
    by_gene = part.groupby(gene[single].to_numpy(str))
    about = pd.DataFrame(
        {
            "locations": by_gene["locations"].agg(lambda of: frozenset(names_in(common_locations(of.dropna())))),
            "plates": by_gene["plate"].agg(lambda of: frozenset(of.dropna())),
            "antibodies": by_gene["antibody"].agg(
                lambda of: frozenset(name for some in of.dropna().unique() for name in names_in(some))
            ),
        }
    )
    return vectors, about.loc[names]


def cosine_scores(vectors: NDArray[np.floating], pairs: NDArray[np.int_]) -> NDArray[np.floating]:
    """Cosine of both proteins of each pair."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.einsum("pd,pd->p", unit[pairs[:, 0]], unit[pairs[:, 1]])


def classifier_scores(vectors: NDArray[np.floating], drawn: Drawn, *, seed: int) -> NDArray[np.floating]:
    """Logit of a regression trained on the pairs of the other folds; 0 where those have one kind only."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scores = np.zeros(len(drawn.pairs))
    for fold in np.unique(drawn.fold):
        test, train = drawn.fold == fold, drawn.fold != fold
        if len(np.unique(drawn.related[train])) < 2:
            continue
        seen = np.unique(drawn.pairs[train])
        most = min(COMPONENTS, len(seen) - 1, vectors.shape[1])
        components = PCA(most, svd_solver="full").fit(vectors[seen]).transform(vectors)
        one, other = (components[drawn.pairs[:, side]] for side in (0, 1))
        # The same whichever protein stands first.
        inputs = np.column_stack([one * other, np.abs(one - other), cosine_scores(vectors, drawn.pairs)])
        inputs = StandardScaler().fit(inputs[train]).transform(inputs)
        # Few pairs and many numbers: a strong pull to 0, and both kinds counted alike.
        fitted = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000, random_state=seed)
        scores[test] = fitted.fit(inputs[train], drawn.related[train]).decision_function(inputs[test])
    return scores


def recall_at_precision(
    truth: NDArray[np.bool_], scores: NDArray[np.floating], weights: NDArray[np.floating], precision: float
) -> NDArray[np.floating]:
    """Largest share of positives found at a threshold where so many of those found are positive.

    Parameters
    ----------
    truth, scores : (N,)
    weights : (B, N)

    Returns
    -------
    (B,) 0 where no threshold is so precise
    """
    order = np.argsort(-scores, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(scores[order])), len(order) - 1]
    ranked = weights[:, order]
    hits = np.cumsum(ranked * truth[order], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precise = hits[:, last] / np.cumsum(ranked, axis=1)[:, last] >= precision
        return np.where(precise, hits[:, last] / hits[:, -1:], 0).max(axis=1)


def _score(
    scores: Mapping[str, NDArray[np.floating]],
    drawn: Drawn,
    *,
    prefix: str,
    prevalence: float,
    precision: float,
    bootstraps: int,
    seed: int,
) -> tuple[list[Metric], Estimate]:
    """The metrics of one reference, headline first, and the headline with its resamples."""
    genes, codes = np.unique(drawn.pairs, return_inverse=True)
    codes = codes.reshape(-1, 2)
    truth = drawn.related
    rarer = np.where(truth, 1.0, truth.sum() * (1 - prevalence) / (prevalence * (~truth).sum()))

    def weighted(counts: NDArray[np.integer]) -> NDArray[np.floating]:
        return (counts[:, codes[:, 0]] * counts[:, codes[:, 1]]).astype(float)

    metrics, headline = [], None
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(len(truth)).astype(float) for _ in range(50)]
    for name, values in scores.items():
        statistics = {
            "auroc": lambda of, weights: macro_auc(truth[:, None], of[:, None], weights),
            "ap": lambda of, weights: macro_ap(truth[:, None], of[:, None], weights * rarer),
            f"recall_at_{precision:g}": lambda of, weights: recall_at_precision(truth, of, weights * rarer, precision),
        }
        for metric, statistic in statistics.items():
            found = bootstrap(
                lambda counts, of=values, how=statistic: how(of, weighted(counts)),  # type: ignore[misc]
                len(genes),
                bootstraps=bootstraps,
                seed=seed,
                bounds=(0, 1),
                rows=len(truth),
            )
            headline = headline or found
            once = np.ones((1, len(truth)))
            chance = 0.5 if metric == "auroc" else float(np.mean([statistic(of, once)[0] for of in shuffled]))
            metrics.append(as_metric(f"{prefix}{name}_{metric}", found, chance=chance, n=len(genes), unit=UNIT))
    assert headline is not None
    return metrics, headline


def _draw(reference: Reference, about: pd.DataFrame, *, negatives: int, folds: int, seed: int) -> Drawn:
    number = {gene: place for place, gene in enumerate(about.index)}
    rows = [(number[a], number[b]) for a, b in sorted(reference.pairs) if a in number and b in number]
    related = np.array(rows, int).reshape(-1, 2)
    fold = fold_of_genes(related, list(about["locations"]), folds=folds, seed=seed)
    known = None if reference.known is None else np.array([gene in reference.known for gene in about.index], bool)
    baits = None if reference.baits is None else np.array([gene in reference.baits for gene in about.index], bool)
    return draw_pairs(related, about, fold, negatives=negatives, seed=seed, known=known, baits=baits)


def _references(
    files: Sequence[str | Path], pairs: Sequence[Mapping[str, Any]], truth: str | Path | None
) -> list[Reference]:
    if not files:
        return read_references(Path(truth) / TRUE_COMPLEXES, "complexes") if truth else []
    found = []
    for path, about in zip(files, pairs, strict=True):
        more = {key: about[key] for key in ("min_score", "baits", "aliases") if about.get(key)}
        found += read_references(path, about["name"], **more)
    return found
