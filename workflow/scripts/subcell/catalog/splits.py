"""Which fields train, which choose and which test."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from subcell.errors import SheetError
from subcell.names import names_in

SPLITS = ("train", "valid", "test")

TAG_GENES = 3
"""An antibody against fewer genes is against these, not against a tag."""

AntibodyList = str | Path | Iterable[str]


def assign_split(
    fields: pd.DataFrame,
    by: Literal["gene", "antibody", "paper", "none"] = "gene",
    fractions: tuple[float, float, float] = (0.6, 0.15, 0.25),
    seed: int = 0,
    lists: Mapping[str, AntibodyList] | None = None,
) -> pd.DataFrame:
    """Fill in the column `split` where it is missing; a split that is given stays.

    The side of a gene (or antibody) follows from a hash of its name and the seed alone, so adding fields moves others
    only where a new antibody ties two genes together.

    Parameters
    ----------
    fields : DataFrame with field_id, gene, ensembl_id, antibody and split
    by : `gene` keeps every gene on one side: genes that share an antibody go together, in one row ("A;B") or in several,
        unless it is against a tag (`tag_antibodies`); fields without splits follow those of their gene that have one. A
        field without gene goes by its antibody, without both by its id. `antibody` does the same for antibodies. `paper`
        follows the published antibody lists; an antibody that is in none of them gets no split. `none` leaves all as it
        is.
    fractions : shares of train, valid and test among genes (or antibodies)
    seed : another seed, another split
    lists : `paper` only: train, valid and test, each a file with one antibody a line or the antibodies themselves

    Returns
    -------
    Copy of `fields`

    Raises
    ------
    SheetError : fractions that are no shares; lists that are missing or overlap
    """
    if by == "none":
        return fields.copy()
    if by == "paper":
        return _by_lists(fields, lists or {})
    if min(fractions) < -1e-9 or abs(sum(fractions) - 1) > 1e-6:
        raise SheetError(f"Shares of train, valid and test are {fractions}; they must be at least 0 and add up to 1")
    members = _genes_of(fields) if by == "gene" else _antibodies_of(fields)
    groups = _connected(members + (_genes_by_antibody(fields, members) if by == "gene" else []))
    given: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for names, split in zip(members, fields["split"], strict=True):
        if isinstance(split, str):
            given[groups[names[0]]][split] += 1
    splits = []
    for names, split in zip(members, fields["split"], strict=True):
        group = groups[names[0]]
        if isinstance(split, str):
            splits.append(split)
        elif given[group]:
            splits.append(max(SPLITS, key=lambda side: given[group][side]))
        else:
            splits.append(_side(group, fractions, seed))
    return fields.assign(split=pd.Series(splits, index=fields.index, dtype=object))


def split_fields(
    fields: pd.DataFrame,
    *,
    by: Literal["gene", "antibody", "paper", "none"] = "gene",
    train: float = 0.6,
    valid: float = 0.15,
    seed: int = 0,
    lists: Mapping[str, AntibodyList] | None = None,
    log: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Assign splits (see `assign_split`) and say how large they are and how many test genes also train."""
    split = assign_split(fields, by, (train, valid, 1 - train - valid), seed, lists)
    counts = split["split"].value_counts()
    parts = [f"{counts.get(side, 0)} {side}" for side in SPLITS]
    overlap = gene_overlap(split)
    log(
        f"split by {by}: {', '.join(parts)}, {int(split['split'].isna().sum())} in none; "
        f"{overlap['shared_genes']} of {overlap['test_genes']} test genes ({overlap['shared_fraction']:.1%}) also train"
    )
    if by == "gene":
        for antibody in sorted(tag_antibodies(fields)):
            log(
                f"antibody {antibody} stains most genes, as against a tag: it is on all sides, and only genes are held out"
            )
    return split


def tag_antibodies(fields: pd.DataFrame, share: float = 0.5) -> set[str]:
    """Antibodies against a tag, as in tagged libraries: holding them out would put nearly all genes on one side.

    Parameters
    ----------
    fields : table with antibody and gene
    share : of the genes that such an antibody stains at least
    """
    if "antibody" not in fields or "gene" not in fields:
        return set()
    genes: defaultdict[str, set[str]] = defaultdict(set)
    for antibodies, names in fields[["antibody", "gene"]].dropna().drop_duplicates().itertuples(index=False):
        for antibody in names_in(antibodies):
            genes[antibody].update(names_in(names))
    every = {gene for names in fields["gene"].dropna().unique() for gene in names_in(names)}
    return {antibody for antibody, names in genes.items() if len(names) >= max(TAG_GENES, share * len(every))}


def read_antibody_lists(folder: str | Path) -> dict[str, Path]:
    """Paths of `{train,valid,test}_antibodies.txt` in a folder, as SubCell publishes them.

    Raises
    ------
    SheetError : a list is missing
    """
    paths = {split: Path(folder) / f"{split}_antibodies.txt" for split in SPLITS}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise SheetError(f"{folder} lacks {', '.join(missing)}; the split `paper` needs the three published lists")
    return paths


def read_antibody_ids(paths: Iterable[str | Path]) -> set[str]:
    """Antibodies of several files, one a line.

    Raises
    ------
    SheetError : a file is missing, empty or no text
    """
    ids: set[str] = set()
    for path in paths:
        try:
            names = Path(path).read_text(encoding="utf-8-sig").split()
        except (OSError, UnicodeDecodeError) as error:
            raise SheetError(f"{path}: cannot read the list of antibodies ({error})") from error
        if not names:
            raise SheetError(f"{path}: the list of antibodies is empty; expected one id a line, e.g. HPA030741")
        ids.update(names)
    return ids


def gene_overlap(fields: pd.DataFrame) -> dict[str, float]:
    """Count the genes of the test part that also train.

    Returns
    -------
    dict with test_genes, shared_genes and shared_fraction (0 where nothing is tested)
    """
    genes = {
        split: {gene for names in fields.loc[fields["split"] == split, "gene"].dropna() for gene in names_in(names)}
        for split in ("train", "test")
    }
    shared = genes["train"] & genes["test"]
    total = len(genes["test"])
    return {"test_genes": total, "shared_genes": len(shared), "shared_fraction": len(shared) / total if total else 0.0}


def _number(text: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\0{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _side(name: str, fractions: tuple[float, float, float], seed: int) -> str:
    number = _number(name, seed)
    if number < fractions[0]:
        return "train"
    return "valid" if number < fractions[0] + fractions[1] else "test"


def _only_partner(keys: pd.Series, values: pd.Series) -> dict[str, str]:
    """Map each key to its value where all rows agree on one."""
    pairs = pd.DataFrame({"key": keys, "value": values}).dropna().drop_duplicates()
    return pairs[~pairs["key"].duplicated(keep=False)].set_index("key")["value"].to_dict()


def _genes_of(fields: pd.DataFrame) -> list[list[str]]:
    """Names that tie a field to others: its genes, else the gene id, the antibody or the field itself."""
    # A row may lack a gene that other rows of its antibody have. An antibody against a tag has many genes, and tying
    # those together would put everything on one side, so only an unambiguous partner counts.
    gene_of_id = _only_partner(fields["ensembl_id"], fields["gene"])
    gene_of_antibody = _only_partner(fields["antibody"], fields["gene"])
    members = []
    for row in fields[["field_id", "gene", "ensembl_id", "antibody"]].itertuples(index=False):
        gene = row.gene
        if not names_in(gene):
            gene = gene_of_id.get(row.ensembl_id) or gene_of_antibody.get(row.antibody)
        members.append(
            names_in(gene) or names_in(row.ensembl_id) or names_in(row.antibody) or [f"field {row.field_id}"]
        )
    return members


def _genes_by_antibody(fields: pd.DataFrame, members: list[list[str]]) -> list[list[str]]:
    """What each antibody ties together, but for antibodies against a tag."""
    tags = tag_antibodies(fields)
    tied: defaultdict[str, list[str]] = defaultdict(list)
    for antibodies, names in zip(fields["antibody"], members, strict=True):
        for antibody in names_in(antibodies):
            if antibody not in tags:
                tied[antibody].append(names[0])
    return list(tied.values())


def _antibodies_of(fields: pd.DataFrame) -> list[list[str]]:
    rows = fields[["field_id", "gene", "antibody"]].itertuples(index=False)
    return [names_in(row.antibody) or names_in(row.gene) or [f"field {row.field_id}"] for row in rows]


def _connected(members: list[list[str]]) -> dict[str, str]:
    """Map each name to the one that stands for all that are tied to it.

    The representative is the name with the smallest hash, not the first in the alphabet or table: it then rarely
    changes when names are added, and its side is still drawn evenly, from another hash.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for names in members:
        for name in names:
            one, other = root(names[0]), root(name)
            keep, drop = sorted((one, other), key=lambda item: (_number(f"rank {item}", 0), item))
            parent[drop] = keep
    return {name: root(name) for name in parent}


def _by_lists(fields: pd.DataFrame, lists: Mapping[str, AntibodyList]) -> pd.DataFrame:
    missing = [split for split in SPLITS if split not in lists]
    if missing:
        raise SheetError(f"The split `paper` needs lists of antibodies for {', '.join(missing)}")
    side: dict[str, str] = {}
    for split in SPLITS:
        source = lists[split]
        for antibody in read_antibody_ids([source]) if isinstance(source, str | Path) else source:
            if side.setdefault(antibody, split) != split:
                raise SheetError(f"Antibody {antibody!r} stands in the lists of {side[antibody]} and of {split}")
    listed = fields["antibody"].map(side)
    split = fields["split"].where(fields["split"].notna(), listed).astype(object)
    return fields.assign(split=split.where(split.notna(), None))
