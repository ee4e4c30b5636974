"""Which fields of a public collection to take: by line, gene, antibody, reliability, location, and how many."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from subcell.catalog.names import match_names
from subcell.errors import SheetError

PUBLISHED_LISTS = {"train": 10_433, "valid": 1_487, "test": 3_460}
"""SubCell's own lists of antibodies, and how many ids each has."""

LISTS_ADDRESS = "https://raw.githubusercontent.com/CellProfiling/subcell-embed/main/annotations/splits"


@dataclass(frozen=True)
class Selection:
    """What to take; an empty list takes all.

    cell_lines, genes, ensembl_ids, antibodies, locations : names in any spelling; a field that has one of several genes
        or locations is taken
    antibody_ids : antibodies from files; those that the collection lacks are only counted
    reliability : HPA's words for how sure a location is
    fields_per_antibody : at most so many fields of one antibody, evenly over its cell lines
    """

    cell_lines: Sequence[str] = ()
    genes: Sequence[str] = ()
    ensembl_ids: Sequence[str] = ()
    antibodies: Sequence[str] = ()
    antibody_ids: frozenset[str] | None = None
    reliability: Sequence[str] = ()
    locations: Sequence[str] = ()
    fields_per_antibody: int | None = None


def select_fields(fields: pd.DataFrame, wanted: Selection, *, log: Callable[[str], None] = print) -> pd.DataFrame:
    """Choose rows of a table of fields.

    Parameters
    ----------
    fields : DataFrame with field_id, cell_line, gene, ensembl_id, antibody, reliability and locations, the last five with
        ";" between several values

    Returns
    -------
    The rows wanted, in their order

    Raises
    ------
    SheetError : names that are not in the table, all of them at once, with the nearest ones
    """
    problems: list[str] = []
    taken = pd.Series(True, fields.index)
    for column, names, what in (
        ("cell_line", wanted.cell_lines, "cell line"),
        ("gene", wanted.genes, "gene"),
        ("ensembl_id", wanted.ensembl_ids, "Ensembl id"),
        ("antibody", wanted.antibodies, "antibody"),
        ("locations", wanted.locations, "location"),
    ):
        if names:
            parts = fields[column].fillna("").str.split(";")
            known = {part for values in parts for part in values if part}
            found, missing = match_names(names, known, what)
            problems += missing
            taken &= pd.Series([not found.isdisjoint(values) for values in parts], fields.index)
    if problems:
        raise SheetError("The selection cannot be made:\n" + "\n".join(f"  - {problem}" for problem in problems))
    if wanted.reliability:
        parts = fields["reliability"].fillna("").str.split(";")
        taken &= pd.Series([not set(wanted.reliability).isdisjoint(values) for values in parts], fields.index)
    if wanted.antibody_ids is not None:
        taken &= fields["antibody"].isin(wanted.antibody_ids)
        there = len(wanted.antibody_ids & set(fields["antibody"].dropna()))
        log(f"antibody lists: {there:,} of {len(wanted.antibody_ids):,} antibodies are there")
    chosen = fields[taken]
    if wanted.fields_per_antibody is not None:
        chosen = chosen[_first_of_each(chosen, wanted.fields_per_antibody)]
    return chosen.reset_index(drop=True)


def _first_of_each(fields: pd.DataFrame, most: int) -> pd.Series:
    """Whether a field is among the first of its antibody, taking one of each line in turn.

    The order follows from the ids alone, so that fields which others join stay chosen as far as the cap allows.
    """
    rank = [hashlib.sha256(field_id.encode()).hexdigest() for field_id in fields["field_id"]]
    table = fields[["antibody", "cell_line"]].fillna("").assign(rank=rank).sort_values("rank")
    table["turn"] = table.groupby(["antibody", "cell_line"]).cumcount()
    table = table.sort_values(["antibody", "turn", "rank"])
    return (table.groupby("antibody").cumcount() < most).reindex(fields.index)
