"""Nothing may be on both sides of a split: no field, no antibody, no gene, no image under two names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.catalog.fields import WHOLE_FILE, read_fields
from subcell.catalog.splits import read_antibody_ids, tag_antibodies
from subcell.channels import CHANNELS
from subcell.errors import SubcellError
from subcell.imaging.ledger import ledger_table
from subcell.names import names_in
from subcell.tables import write_table

PLURALS = {"field_id": "fields", "antibody": "antibodies", "gene": "genes"}
HELD_OUT: dict[str, tuple[str, ...]] = {
    "gene": ("field_id", "antibody", "gene"),
    "antibody": ("field_id", "antibody"),
    "paper": ("field_id", "antibody"),
    "none": ("field_id",),
}
"""How a dataset is split -> columns whose values may be on one side only. SubCell's own lists share genes."""

TRAINING = ("train", "valid")
"""Sides that a classifier or a network has seen."""

TAG_SHARE = 0.25
"""Half of what `tag_antibodies` asks of a whole dataset: a check may see only the genes of which cells were found."""

LEAKAGE_COLUMNS = ("checked", "train", "test", "on_both_sides")
SHOWN = 5


def check_split(obs: pd.DataFrame, split: pd.Series, *, by: str = "gene", where: str = "the cells") -> dict[str, int]:
    """Make sure that what is held out is not trained on.

    Parameters
    ----------
    obs : (N, ...) table of cells or fields
    split : (N,) train, valid, test, or None
    by : how the dataset is split, a key of `HELD_OUT`
    where : begins the message

    Returns
    -------
    what is on both sides though it may be, e.g. {"genes_in_train_and_test": 12}

    Raises
    ------
    SubcellError : something is on both sides that may not be, with examples. An antibody against a tag may be, where
        genes are held out (`tag_antibodies`)
    """
    counts: dict[str, int] = {}
    spared = _not_held_out(obs, by)
    for name, plural in PLURALS.items():
        # Of vectors whose file says no fields nothing can be said of fields.
        if name not in obs or (name == "field_id" and obs[name].eq(WHOLE_FILE).all()):
            continue
        learned = names_of(obs[name][split.isin(TRAINING).to_numpy()])
        shared = sorted(learned & names_of(obs[name][(split == "test").to_numpy()]))
        counts[f"{plural}_in_train_and_test"] = len(shared)
        if name == "antibody":
            shared = [antibody for antibody in shared if antibody not in spared]
        if shared and name in HELD_OUT[by]:
            raise SubcellError(
                f"{where}: {len(shared)} {plural} are both in the training or validation part and in the test part "
                f"({', '.join(shared[:SHOWN])}{', ...' if len(shared) > SHOWN else ''}), though the split is by {by}: a "
                f"score would be of what was learned by heart. Correct the column `split` of the sheet, leave it out to "
                "have the dataset split here, or say with `split: {by: ...}` what is held out"
            )
    return counts


def _not_held_out(obs: pd.DataFrame, by: str) -> set[str]:
    """Antibodies against a tag, where genes are held out."""
    return tag_antibodies(obs, TAG_SHARE) if by == "gene" else set()


def names_of(values: pd.Series) -> set[str]:
    """All names of a column; a cell of two genes, "A;B", has both."""
    return {name for text in values.dropna().unique() for name in names_in(str(text))}


def any_of(values: pd.Series, known: set[str]) -> NDArray[np.bool_]:
    """Whether a name of each row is among those known, (N,)."""
    found = {text: not known.isdisjoint(names_in(str(text))) for text in values.dropna().unique()}
    return values.map(found).eq(True).to_numpy()


def trains_too(obs: pd.DataFrame, learned: pd.DataFrame) -> NDArray[np.bool_]:
    """Cells whose antibody or gene is among those of other cells, (N,)."""
    seen = np.zeros(len(obs), bool)
    for name in ("antibody", "gene"):
        if name in obs and name in learned:
            seen |= any_of(obs[name].astype(object), names_of(learned[name]))
    return seen


def learned_rows(split: pd.Series) -> NDArray[np.bool_]:
    """Rows that train or choose, (N,); where no row has a side, networks learn from all of them."""
    return split.isin(TRAINING).to_numpy() if split.notna().any() else np.ones(len(split), bool)


def seen_by_networks(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Antibody and gene of the fields that networks learned from.

    Parameters
    ----------
    paths : tables of fields; those of one dataset lie in one folder
    """
    folders: dict[Path, list[str | Path]] = {}
    for path in paths:
        folders.setdefault(Path(path).parent, []).append(path)
    tables = [read_fields(shards) for shards in folders.values()]
    seen = [table.loc[learned_rows(table["split"]), ["antibody", "gene"]] for table in tables]
    return pd.concat([pd.DataFrame(columns=["antibody", "gene"], dtype=object), *seen], ignore_index=True)


def training_genes(
    obs: pd.DataFrame, split: pd.Series, *, lists: Sequence[str | Path] = (), release: str | Path | None = None
) -> tuple[set[str], int]:
    """Genes of all antibodies that train or choose, labelled or not.

    Parameters
    ----------
    obs : (N, ...) all cells of a dataset, with `gene` and `antibody`
    split : (N,)
    lists : files of the antibodies that released weights were trained on, one a line: a dataset need not hold them all
    release : parquet table with `antibody` and `gene` of the collection that a dataset is taken from

    Returns
    -------
    genes, and how many listed antibodies have no known gene
    """
    about = obs.reindex(columns=["antibody", "gene"]).drop_duplicates()
    if release:
        about = pd.concat([about, pd.read_parquet(release, columns=list(about)).drop_duplicates()])
    about = about.dropna().astype(str)
    listed = read_antibody_ids(lists)
    genes = names_of(obs["gene"][split.isin(TRAINING).to_numpy()]) if "gene" in obs else set()
    genes |= names_of(about["gene"][any_of(about["antibody"], listed)])
    return genes, len(listed - names_of(about["antibody"]))


def duplicates_between_sides(fields: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """Images with the same bytes that stand under different names on different sides.

    Parameters
    ----------
    fields : field_id, split
    files : field_id, channel, plane, sha256 of every image

    Returns
    -------
    one row an image that is on both sides: sha256, channel, fields (of all sides)
    """
    known = files[files["sha256"].notna() & (files["sha256"].astype(str) != "")]
    table = known.merge(fields[["field_id", "split"]], on="field_id")
    table = table[table["split"].notna()]
    side = table["split"].where(table["split"] == "test", "train")
    # A file of many planes holds many images.
    sides = table.assign(side=side).groupby(["sha256", "plane"])["side"].transform("nunique")
    shared = table[(sides > 1).to_numpy()]
    found = shared.groupby(["sha256", "channel"])["field_id"].agg(lambda names: ", ".join(sorted(set(names))))
    return found.rename("fields").reset_index()


Listed = tuple[pd.DataFrame, Iterable[pd.DataFrame]]
"""Fields of a dataset with `split`, and the ledgers of its images."""

Learned = tuple[pd.DataFrame, set[str]]
"""Fields of a dataset that train or choose, and the hashes of their images."""


def check_dataset(
    fields: pd.DataFrame,
    ledgers: Iterable[pd.DataFrame],
    *,
    by: str,
    dataset: str,
    out_tsv: str | Path,
    elsewhere: Mapping[str, Listed] = MappingProxyType({}),
    networks: Collection[str] = (),
    classifiers: Collection[str] = (),
    weights: Mapping[str, Mapping[str, set[str]] | None] = MappingProxyType({}),
) -> None:
    """Check a whole dataset, its images included, and write what was checked.

    A channel whose images are all alike (a stain that a dataset lacks) is no duplicate.

    Parameters
    ----------
    fields : table of fields with `split`
    ledgers : of every shard
    by : how the dataset is split
    dataset : for the message
    out_tsv : table to write, `LEAKAGE_COLUMNS`
    elsewhere : other datasets that something which is scored on this one was trained on
    networks : datasets that train a network which is scored on this one; this one may be among them
    classifiers : datasets whose classifiers are scored on every part of this one, by `external` or `test_sets`; they leave
        out cells of antibodies and genes that these datasets or those of networks train
    weights : file of weights that a network on this dataset starts from or is -> antibodies and genes that it has learned
        from, None where it does not say, see `subcell.model.weights.checkpoint.names_seen`

    Raises
    ------
    SubcellError : something is on both sides
    """
    split = fields["split"].astype(object)
    counts = check_split(fields, split, by=by, where=f"dataset {dataset}")
    files = _images(ledgers)
    twins = duplicates_between_sides(fields, files)
    if len(twins):
        shown = "; ".join(f"{row.channel} of {row.fields}" for row in twins.head(SHOWN).itertuples())
        raise SubcellError(
            f"dataset {dataset}: {len(twins)} images are the same file on both sides of the split: {shown}. Remove one of "
            "each from the sheet, or put both on one side"
        )
    tested = fields[(split == "test").to_numpy()]
    trained = fields[(split == "train").to_numpy()]
    rows: list[dict[str, object]] = [
        _row(plural, names_of(trained[name]), names_of(tested[name]), counts[f"{plural}_in_train_and_test"])
        for name, plural in PLURALS.items()
        if f"{plural}_in_train_and_test" in counts
    ]
    rows.append(_row_of_images("images by hash", _hashes(trained, files), _hashes(tested, files)))
    others = {name: _learned(table, _images(theirs)) for name, (table, theirs) in elsewhere.items()}
    for name, (known, hashes) in others.items():
        if name in networks:
            rows += _check_other(known, tested, (hashes, _hashes(tested, files)), by=by, dataset=dataset, other=name)
    for path, seen in weights.items():
        rows += _check_weights(path, seen, tested, by=by, dataset=dataset)
    if classifiers:
        own = {dataset: _learned(fields, files)} if dataset in {*networks, *classifiers} else {}
        rows += _check_all_parts(fields, files, {**own, **others}, dataset=dataset)
    table = pd.DataFrame(rows, columns=list(LEAKAGE_COLUMNS)).astype({"on_both_sides": "Int64"})
    write_table(table, out_tsv)


def _learned(fields: pd.DataFrame, files: pd.DataFrame) -> Learned:
    known = fields[learned_rows(fields["split"])]
    return known, _hashes(known, files)


def _check_all_parts(
    fields: pd.DataFrame, files: pd.DataFrame, sources: Mapping[str, Learned], *, dataset: str
) -> list[dict[str, object]]:
    """Rows about fields of every part: those whose antibody or gene was learned from are left out, others may be scored."""
    known = pd.concat([table for table, _ in sources.values()], ignore_index=True)
    # A cell without antibody and gene belongs to no unit, and is not scored.
    named = fields[["antibody", "gene"]].notna().any(axis=1).to_numpy()
    scored = _hash_of(fields[named & ~trains_too(fields, known)], files)
    for name, (_, hashes) in sources.items():
        twins = scored[scored["hash"].isin(hashes)]
        if len(twins):
            shown = "; ".join(f"{row.channel} of {row.field_id}" for row in twins.head(SHOWN).itertuples())
            raise SubcellError(
                f"dataset {dataset}: {len(twins)} images are the same file as one of the training or validation part of "
                f"{name}, from which something learned that `external` or `test_sets` scores here: {shown}. Remove these "
                f"fields from the sheet, or give them the antibody or gene that they have in {name}: they are left out then"
            )
    where = "where every part is scored"
    names = {PLURALS[name]: (names_of(known[name]), names_of(fields[name])) for name in ("antibody", "gene")}
    rows = [
        _row(f"{what}, {where}: those on both sides are left out", one, two, len(one & two))
        for what, (one, two) in names.items()
    ]
    hashes = set().union(*(hashes for _, hashes in sources.values()))
    return [*rows, _row_of_images(f"images by hash of what is left, {where}", hashes, set(scored["hash"]))]


def _check_other(
    learned: pd.DataFrame,
    tested: pd.DataFrame,
    hashes: tuple[set[str], set[str]],
    *,
    by: str,
    dataset: str,
    other: str,
) -> list[dict[str, object]]:
    """Rows about what a network has learned from another dataset."""
    pairs = {PLURALS[name]: (names_of(learned[name]), names_of(tested[name])) for name in ("antibody", "gene")}
    refused = [PLURALS[name] for name in HELD_OUT[by]]
    shared = {what: sorted(one & two) for what, (one, two) in {**pairs, "images": hashes}.items()}
    spared = _not_held_out(learned, by) & _not_held_out(tested, by)
    for what, both in shared.items():
        names = [name for name in both if what != "antibodies" or name not in spared]
        if names and what in (*refused, "images"):
            shown = "" if what == "images" else f" ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
            raise SubcellError(
                f"dataset {dataset}: {len(names)} {what} of its test part are in the training or validation part of {other}"
                f"{shown}, from which a model learned that is scored here. Split both alike (`split`: the same `by`, shares "
                f"and `seed`), say with `split: {{by: ...}}` what is held out, or leave {dataset} out of the model's "
                "`evaluate_on`"
            )
    rows = [
        _row(f"{what}, those of {other} that train", *sides, len(shared[what]))
        for what, sides in pairs.items()
        if any(sides)
    ]
    return [*rows, _row_of_images(f"images by hash, those of {other} that train", *hashes)]


def _check_weights(
    path: str, seen: Mapping[str, set[str]] | None, tested: pd.DataFrame, *, by: str, dataset: str
) -> list[dict[str, object]]:
    """Rows about what a file of weights has learned from before."""
    if seen is None:
        return [_row(f"names that {path} learned from: not checked, the file does not say", set(), set(), None)]
    rows = []
    for name in ("antibody", "gene"):
        held_out = names_of(tested[name])
        shared = sorted(seen[name] & held_out)
        if shared and name in HELD_OUT[by]:
            raise SubcellError(
                f"dataset {dataset}: {path} has learned from {len(shared)} {PLURALS[name]} of its test part "
                f"({', '.join(shared[:SHOWN])}{', ...' if len(shared) > SHOWN else ''}): a score would be of what was learned by "
                f"heart. Start from other weights, or leave {dataset} out of the model's `evaluate_on`"
            )
        rows.append(_row(f"{PLURALS[name]}, those that {path} learned from", seen[name], held_out, len(shared)))
    return rows


def _images(ledgers: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Usable images of channels that are not all alike."""
    files = pd.concat([ledger_table(), *ledgers], ignore_index=True)
    files = files[(files["status"] == "ok") & files["channel"].isin(CHANNELS) & (files["sha256"] != "")]
    return files[files.groupby("channel")["sha256"].transform("nunique") > 1]


def _hash_of(fields: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """Images of these fields with a name for each, `hash`; a file of many planes holds many."""
    some = files[files["field_id"].isin(fields["field_id"])]
    return some.assign(hash=some["sha256"] + some["plane"])


def _hashes(fields: pd.DataFrame, files: pd.DataFrame) -> set[str]:
    return set(_hash_of(fields, files)["hash"])


def _row(checked: str, train: set[str], test: set[str], both: int | None) -> dict[str, object]:
    return dict(zip(LEAKAGE_COLUMNS, (checked, len(train), len(test), both), strict=True))


def _row_of_images(checked: str, train: set[str], test: set[str]) -> dict[str, object]:
    """Images with a known hash on both sides, of which none is shared; with none on a side nothing was checked."""
    if train and test:
        return _row(checked, train, test, len(train & test))
    side = "held out" if train else "learned from"
    return _row(f"{checked}: not checked, none with a known hash is {side}", train, test, None)
