"""Pairs of proteins that are related, from complexes or lists of interactions, and pairs that match them but are not."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from subcell.atlas.clusters.leiden import as_network, run_leiden
from subcell.atlas.knowledge.gene_sets import read_gene_sets, text_lines
from subcell.atlas.knowledge.interactions import read_interactions
from subcell.errors import SheetError

MOST_PAIRS = 20_000
"""Related pairs that are scored; of more, this many are drawn."""

LARGEST_COMPLEX = 100
"""Members of a set whose pairs are taken: those of larger ones, such as the ribosome with all its factors, would be most."""


@dataclass(frozen=True)
class Reference:
    """What is known of a source.

    Attributes
    ----------
    name : of the source
    pairs : related genes, each pair once, in alphabetical order
    baits : genes that were tested for partners; where they are known a pair without one of them says nothing
    known : genes that unrelated pairs may have: those of the list, or None for any, since sets of complexes name members
        alone
    """

    name: str
    pairs: frozenset[tuple[str, str]]
    known: frozenset[str] | None = None
    baits: frozenset[str] | None = None


@dataclass(frozen=True)
class Drawn:
    """Related pairs and others that match them.

    Attributes
    ----------
    pairs : (P, 2) numbers of proteins
    related : (P,) bool
    fold : (P,) of both proteins
    matched : what share of the unrelated pairs equals its related pair in locations, plate and number of partners
    """

    pairs: NDArray[np.int_]
    related: NDArray[np.bool_]
    fold: NDArray[np.int_]
    matched: Mapping[str, float]


def read_references(
    path: str | Path,
    name: str,
    *,
    min_score: float = 0,
    baits: str | Path | None = None,
    aliases: str | Path | None = None,
) -> list[Reference]:
    """Read related pairs from a file.

    Parameters
    ----------
    path : interactions as `subcell.atlas.knowledge.interactions` reads them; a table with the columns `complex` and `gene`; or
        complexes as `subcell.atlas.knowledge.gene_sets` reads them (CORUM, GMT)
    name : of the source
    min_score : pairs with a lower score are left out
    baits : file with a gene a line: those that were tested for partners, as in BioPlex
    aliases : names of the proteins of interactions, see `subcell.atlas.knowledge.interactions.read_interactions`

    Returns
    -------
    one reference; of complexes with a column `separable` (simulated ones) a second one, `name`_not_separable, of those that
    look like other proteins of their locations and that no model can tell

    Raises
    ------
    SheetError : the file cannot be read so; the message names the row
    """
    path = Path(path)
    header = _cells(next(text_lines(path), ""), path)
    tested = None if baits is None else frozenset(line.strip() for line in text_lines(Path(baits)) if line.strip())
    if {"complex", "gene"} <= set(header):
        return _read_complexes(path, name, header, tested)
    if ".gmt" in path.suffixes or any("subunits" in cell for cell in header):
        return [_of_sets(name, read_gene_sets(path, name).sets.values(), tested)]
    pairs, known = set(), set()
    for one, other, score in read_interactions(path, aliases=aliases):
        known |= {one, other}
        if one != other and score >= min_score:
            pairs.add((min(one, other), max(one, other)))
    return [Reference(name, frozenset(pairs), frozenset(known), tested)]


def fold_of_genes(
    pairs: NDArray[np.int_], locations: Sequence[frozenset[str]], *, folds: int, seed: int
) -> NDArray[np.int_]:
    """Deal proteins to folds so that related ones, and those of the same locations, are together where that is possible.

    Connected groups (complexes, and complexes that share a member) stay whole. A group of more than its share, as lists of
    interactions have, is cut by Leiden clustering; pairs between folds are then left out by `draw_pairs`. Groups of the same
    locations follow each other, so that a fold holds proteins that can be exchanged.

    Parameters
    ----------
    pairs : (P, 2) related
    locations : of each protein

    Returns
    -------
    (proteins,) number of the fold
    """
    proteins = len(locations)
    graph = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(proteins, proteins))
    _, group = sparse.csgraph.connected_components(graph, directed=False)
    if np.bincount(group).max(initial=0) > 1.5 * max(2, proteins // folds):
        group = run_leiden(as_network(sparse.csr_array(graph + graph.T)), 1.0, seed)
    words = np.array([";".join(sorted(names)) for names in locations])
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(group == number) for number in range(group.max() + 1)]
    place = [max(sorted(set(words[of])), key=list(words[of]).count) for of in members]
    order = sorted(rng.permutation(len(members)), key=lambda number: place[number])
    fold = np.zeros(proteins, int)
    before = 0
    for number in order:
        middle = before + len(members[number]) / 2
        fold[members[number]] = min(folds - 1, int(middle * folds / proteins))
        before += len(members[number])
    return fold


def draw_pairs(
    related: NDArray[np.int_],
    about: pd.DataFrame,
    fold: NDArray[np.int_],
    *,
    negatives: int,
    seed: int,
    known: NDArray[np.bool_] | None = None,
    baits: NDArray[np.bool_] | None = None,
) -> Drawn:
    """Put beside each related pair others of the same fold that match it.

    One protein of the pair is exchanged for one that is alike: in this order, the same locations (most shared), on a plate
    with the other or not as before, and about as many partners. So locations, plates and well-studied proteins do not tell
    related pairs from others.

    Parameters
    ----------
    related : (P, 2) related pairs; those between folds, or of proteins with a common antibody, are left out
    about : (proteins, ...) sets `locations`, `plates` and `antibodies`
    fold : (proteins,)
    negatives : for each related pair; fewer where there are no more
    known : (proteins,) those that may be exchanged for one; all where it is None
    baits : (proteins,) one of each other pair is among them, where they are known
    """
    rng = np.random.default_rng(seed)
    proteins = len(about)
    chosen = np.ones(proteins, bool) if known is None else known
    places, plates, antibodies = (_Shared(about[name]) for name in ("locations", "plates", "antibodies"))
    partners = np.bincount(related.ravel(), minlength=proteins)
    partners_of: dict[int, set[int]] = {}
    for one, other in related.tolist():
        partners_of.setdefault(one, set()).add(other)
        partners_of.setdefault(other, set()).add(one)
    usable = fold[related[:, 0]] == fold[related[:, 1]]
    usable &= np.array([antibodies.counts(one)[other] == 0 for one, other in related.tolist()], bool)
    positive = related[usable]
    if len(positive) > MOST_PAIRS:
        positive = positive[np.sort(rng.choice(len(positive), MOST_PAIRS, replace=False))]
    found: list[tuple[int, int]] = []
    equal: list[tuple[bool, bool, bool]] = []
    taken: dict[int, set[int]] = {}
    for pair in np.repeat(positive, negatives, axis=0).tolist():
        # One protein stays, the other is exchanged; which, by chance.
        stays, leaves = pair if rng.random() < 0.5 else pair[::-1]
        allowed = chosen & (fold == fold[stays]) & (antibodies.counts(stays) == 0)
        if baits is not None and not baits[stays]:
            allowed &= baits
        allowed[[stays, leaves, *partners_of[stays]]] = False
        if not allowed.any():
            continue
        # Fewer unrelated pairs rather than some of other locations.
        likeness = places.jaccard(leaves)
        allowed &= likeness == likeness[allowed].max()
        allowed[list(taken.get(stays, ()))] = False
        rows = np.flatnonzero(allowed)
        if not len(rows):
            continue
        plate = (plates.counts(stays)[rows] > 0) == (plates.counts(stays)[leaves] > 0)
        degree = np.abs(np.log2(1 + partners[rows]) - np.log2(1 + partners[leaves]))
        best = np.lexsort((rng.random(len(rows)), degree, ~plate))[0]
        other = int(rows[best])
        taken.setdefault(stays, set()).add(other)
        taken.setdefault(other, set()).add(stays)
        found.append((min(stays, other), max(stays, other)))
        equal.append((bool(likeness[other] == 1), bool(plate[best]), bool(degree[best] <= 1)))
    pairs = np.concatenate([positive.reshape(-1, 2), np.array(found, int).reshape(-1, 2)])
    shares = np.array(equal, float).reshape(-1, 3).mean(axis=0) if equal else np.full(3, np.nan)
    return Drawn(
        pairs,
        np.arange(len(pairs)) < len(positive),
        fold[pairs[:, 0]],
        dict(zip(("locations", "plate", "partners_within_twofold"), shares.tolist(), strict=True)),
    )


def _read_complexes(path: Path, name: str, header: list[str], baits: frozenset[str] | None) -> list[Reference]:
    sets: dict[bool, dict[str, set[str]]] = {True: {}, False: {}}
    for number, line in enumerate(text_lines(path), start=1):
        if number == 1 or not line.strip():
            continue
        row = dict(zip(header, _cells(line, path), strict=False))
        if not row.get("complex") or not row.get("gene"):
            raise SheetError(f"{path}, line {number}: {line[:60]!r}; expected a complex and a gene")
        separable = row.get("separable", "true").lower() in ("true", "1")
        sets[separable].setdefault(row["complex"], set()).add(row["gene"])
    names = {True: name, False: f"{name}_not_separable"}
    return [_of_sets(names[some], found.values(), baits) for some, found in sets.items() if found]


def _of_sets(name: str, sets: Iterable[Collection[str]], baits: frozenset[str] | None) -> Reference:
    sizes = [sorted(genes) for genes in sets]
    pairs = {pair for genes in sizes if len(genes) <= LARGEST_COMPLEX for pair in combinations(genes, 2)}
    return Reference(name, frozenset(pairs), None, baits)


def _cells(line: str, path: Path) -> list[str]:
    tabs = "\t" in line or ".csv" not in path.suffixes
    return [cell.strip() for cell in next(csv.reader([line], delimiter="\t" if tabs else ","), [])]


class _Shared:
    """How many names proteins have in common, a row at a time: a table of all pairs would be gigabytes."""

    def __init__(self, names: Iterable[frozenset[str]]) -> None:
        names = list(names)
        every = {name: number for number, name in enumerate(sorted(frozenset().union(*names)))}
        rows = [row for row, some in enumerate(names) for _ in some]
        columns = [every[name] for some in names for name in sorted(some)]
        self._has = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(names), max(1, len(every))))
        self._sizes = np.array([len(some) for some in names])
        self.counts = lru_cache(maxsize=2048)(self._counts)

    def _counts(self, row: int) -> NDArray[np.floating]:
        start, stop = self._has.indptr[row : row + 2]
        wanted = np.zeros(self._has.shape[1])
        wanted[self._has.indices[start:stop]] = 1
        return np.asarray(self._has @ wanted)

    def jaccard(self, row: int) -> NDArray[np.floating]:
        """Share of the names of both that both have; 1 where neither has any."""
        common = self.counts(row)
        union = self._sizes[row] + self._sizes - common
        return np.where(union > 0, common / np.maximum(union, 1), 1)
