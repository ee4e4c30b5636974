"""Sets of genes from local files: GMT, tables, CORUM, the Human Protein Atlas's locations, GO annotations with evidence."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from subcell.errors import SheetError
from subcell.names import names_in

MAX_BYTES = 2**31
"""Largest file that is read, unpacked."""

Aspect = Literal["CC", "BP", "MF"]
_ASPECTS = {"CC": "C", "BP": "P", "MF": "F"}
_NAMESPACES = {"CC": "cellular_component", "BP": "biological_process", "MF": "molecular_function"}
_GENES_OF_CORUM = ("subunits(Gene name)", "subunits_gene_name")
_NAMES_OF_CORUM = ("ComplexName", "complex_name")
_ORGANISMS_OF_CORUM = ("Organism", "organism")


@dataclass(frozen=True)
class GeneSets:
    """Sets of one source.

    Attributes
    ----------
    name : of the source
    sets : term -> genes
    independent : whether the sets come from other evidence than the images that are mapped
    """

    name: str
    sets: Mapping[str, frozenset[str]]
    independent: bool = True


@dataclass(frozen=True)
class Membership:
    """Which units have which terms of a source.

    Attributes
    ----------
    name : of the source
    terms : (T,)
    has : (units, T) 0 or 1
    tested : (units,) those that a test may count: with any term of the source, and one for each protein
    independent : see `GeneSets`
    control : whether nothing should be enriched, as with plates
    """

    name: str
    terms: list[str]
    has: sparse.csr_array
    tested: NDArray[np.bool_]
    independent: bool = True
    control: bool = False


def read_gene_sets(
    path: str | Path,
    name: str,
    *,
    independent: bool | None = None,
    ontology: str | Path | None = None,
    aspect: Aspect | None = None,
    exclude_assigned_by: Collection[str] = ("HPA",),
) -> GeneSets:
    """Read sets from a file, plain, .gz or .zip; what it is shows in its name and header.

    Parameters
    ----------
    path : a GMT file; CORUM's table; the Atlas's subcellular_location.tsv; a GAF file of GO annotations; or a table
        without header of term and gene, or of term, number of genes and genes joined by ","
    name : of the source
    independent : whether the sets come from other evidence than the Atlas's images; where it is None, yes for all but
        the Atlas's own locations and annotations that include the Atlas's
    ontology : go-basic.obo for a GAF file; genes of a term then count for what it is a kind or part of
    aspect : part of GO that is taken from a GAF file; all where it is None
    exclude_assigned_by : annotations of a GAF file made by these are left out

    Returns
    -------
    `GeneSets`, terms sorted

    Raises
    ------
    SheetError : the file cannot be read as any of these; the message names the row
    """
    path = Path(path)
    kind = path.name.lower().removesuffix(".gz").removesuffix(".zip")
    own = False
    if kind.endswith(".gmt"):
        sets = _read_gmt(path)
    elif kind.endswith(".gaf"):
        sets = _read_gaf(path, ontology, aspect, frozenset(exclude_assigned_by))
        own = "HPA" not in exclude_assigned_by
    else:
        header = next(text_lines(path), "").split("\t")
        if any(column in header for column in _GENES_OF_CORUM):
            sets = _read_corum(path, header)
        elif "Main location" in header:
            sets, own = _read_locations(path), True
        else:
            sets = _read_table(path)
    found = {term: frozenset(genes) for term, genes in sorted(sets.items()) if genes}
    if not found:
        raise SheetError(f"{path}: no gene sets in it; expected GMT, or a table of terms and genes")
    return GeneSets(name, found, not own if independent is None else independent)


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a text file, unpacked where it is packed, refused where it is too large."""
    try:
        with _open(path) as file:
            size = 0
            for line in io.TextIOWrapper(file, encoding="utf-8", errors="replace"):
                size += len(line)
                if size > MAX_BYTES:
                    raise SheetError(f"{path}: more than {MAX_BYTES:,} bytes when unpacked")
                yield line.rstrip("\r\n")
    except (OSError, EOFError, zipfile.BadZipFile) as problem:
        raise SheetError(f"{path}: cannot be read ({problem})") from None


def _open(path: Path) -> Any:
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        inside = [name for name in archive.namelist() if not name.endswith("/")]
        if len(inside) != 1:
            raise SheetError(f"{path}: an archive of {len(inside)} files; expected one table")
        return archive.open(inside[0])
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")


def _read_gmt(path: Path) -> dict[str, set[str]]:
    sets: dict[str, set[str]] = defaultdict(set)
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        term, *rest = line.split("\t")
        if len(rest) < 2 or not term:
            raise SheetError(
                f"{path}, line {number}: {line[:60]!r}; expected name, description and genes, tabs between"
            )
        sets[term].update(gene for gene in rest[1:] if gene)
    return sets


def _read_table(path: Path) -> dict[str, set[str]]:
    sets: dict[str, set[str]] = defaultdict(set)
    for number, line in enumerate(text_lines(path), start=1):
        cells = line.split("\t")
        if not line.strip() or (
            number == 1 and [cell.lower() for cell in cells[:2]] in (["term", "gene"], ["set", "gene"])
        ):
            continue
        if len(cells) == 2:
            sets[cells[0]].add(cells[1])
        elif len(cells) == 3 and cells[1].strip().isdigit():
            sets[cells[0]].update(gene.strip() for gene in cells[2].split(",") if gene.strip())
        else:
            raise SheetError(f"{path}, line {number}: {line[:60]!r}; expected term and gene, or term, number and genes")
    return sets


def _rows(path: Path) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(text_lines(path), delimiter="\t")


def _read_corum(path: Path, header: Sequence[str]) -> dict[str, set[str]]:
    def column(names: Sequence[str]) -> str:
        return next((name for name in names if name in header), names[0])

    genes, title, organism = column(_GENES_OF_CORUM), column(_NAMES_OF_CORUM), column(_ORGANISMS_OF_CORUM)
    sets: dict[str, set[str]] = defaultdict(set)
    for row in _rows(path):
        if (row.get(organism) or "Human") == "Human":
            sets[row[title]].update(g.strip() for g in row[genes].split(";") if g.strip() not in ("", "None"))
    return sets


def _read_locations(path: Path) -> dict[str, set[str]]:
    sets: dict[str, set[str]] = defaultdict(set)
    for row in _rows(path):
        for location in names_in(f"{row['Main location']};{row.get('Additional location') or ''}"):
            sets[location].add(row["Gene name"])
    return sets


def _read_gaf(
    path: Path, ontology: str | Path | None, aspect: Aspect | None, excluded: frozenset[str]
) -> dict[str, set[str]]:
    names, parents = _read_obo(Path(ontology), aspect) if ontology else ({}, {})
    direct: dict[str, set[str]] = defaultdict(set)
    for number, line in enumerate(text_lines(path), start=1):
        if line.startswith("!") or not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) < 15:
            raise SheetError(f"{path}, line {number}: {len(cells)} columns; a GAF file has 17")
        if "NOT" in cells[3].split("|") or cells[14] in excluded or (aspect and cells[8] != _ASPECTS[aspect]):
            continue
        direct[cells[4]].add(cells[2])
    sets: dict[str, set[str]] = defaultdict(set)
    for term, genes in direct.items():
        for above in _with_ancestors(term, parents):
            sets[f"{names[above]} ({above})" if above in names else above].update(genes)
    return sets


def _read_obo(path: Path, aspect: Aspect | None) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Names of terms, and what each is a kind or part of; within one aspect where one is given."""
    names: dict[str, str] = {}
    parents: dict[str, list[str]] = defaultdict(list)
    # A function may be part of a process, so the ancestors of one aspect lead into another.
    foreign: set[str] = set()
    term = ""
    for line in text_lines(path):
        key, _, value = line.partition(": ")
        if line.startswith("["):
            term = ""
        elif key == "id":
            term = value
        elif key == "name" and term:
            names[term] = value
        elif key == "namespace" and term and aspect and value != _NAMESPACES[aspect]:
            foreign.add(term)
        elif key == "is_a":
            parents[term].append(value.split(" ")[0])
        elif key == "relationship" and value.startswith("part_of "):
            parents[term].append(value.split(" ")[1])
    return names, {term: [above for above in found if above not in foreign] for term, found in parents.items()}


def _with_ancestors(term: str, parents: Mapping[str, Sequence[str]]) -> set[str]:
    seen, left = {term}, [term]
    while left:
        new = [above for above in parents.get(left.pop(), ()) if above not in seen]
        seen.update(new)
        left += new
    return seen


def of_units(sets: GeneSets, obs: pd.DataFrame) -> Membership:
    """Terms of units by their genes (`gene`, ";" between several); a unit has what any of its genes has."""
    by_gene: dict[str, list[int]] = defaultdict(list)
    terms = list(sets.sets)
    for number, term in enumerate(terms):
        for gene in sets.sets[term]:
            by_gene[gene].append(number)
    listed = [
        sorted({term for gene in names_in(genes) for term in by_gene.get(gene, ())})
        for genes in (obs["gene"].astype(object) if "gene" in obs else [None] * len(obs))
    ]
    return _membership(sets.name, terms, listed, one_per_protein(obs), sets.independent, False)


def of_columns(obs: pd.DataFrame, column: str, *, independent: bool, control: bool = False) -> Membership:
    """Terms of units from a column of their own table, ";" between several; "locations" or "plate", for example."""
    listed = [names_in(value) for value in obs[column].astype(object)]
    terms = sorted({term for of_one in listed for term in of_one})
    number = {term: place for place, term in enumerate(terms)}
    rows = [[number[term] for term in of_one] for of_one in listed]
    return _membership(column, terms, rows, one_per_protein(obs), independent, control)


def _membership(
    name: str,
    terms: list[str],
    rows: Sequence[Sequence[int]],
    counted: NDArray[np.bool_],
    independent: bool,
    control: bool,
) -> Membership:
    lengths = [len(row) for row in rows]
    columns = np.array([term for row in rows for term in row], int)
    has = sparse.csr_array(
        (np.ones(len(columns)), columns, np.concatenate([[0], np.cumsum(lengths)]).astype(int)),
        shape=(len(rows), len(terms)),
    )
    return Membership(name, terms, has, counted & (np.array(lengths) > 0), independent, control)


def one_per_protein(obs: pd.DataFrame) -> NDArray[np.bool_]:
    """The first of the units that share an antibody or a gene.

    Units of one antibody show the same images or such as are alike, those of one gene the same protein: either way they
    lie together and have the same terms, so they are one statement.
    """
    keep = np.ones(len(obs), bool)
    seen: set[tuple[str, str]] = set()
    known = [(column, obs[column].astype(object).to_numpy()) for column in ("antibody", "gene") if column in obs]
    for row in range(len(obs)):
        names = {(column, name) for column, values in known for name in names_in(values[row])}
        keep[row] = not names & seen
        if keep[row]:
            seen |= names
    return keep
