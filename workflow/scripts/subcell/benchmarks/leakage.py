"""Nothing may be on both sides of a split: no field, no antibody, no gene, no image under two names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from subcell.channels import CHANNELS
from subcell.errors import SubcellError
from subcell.imaging.ledger import ledger_table
from subcell.replacing import replacing

PLURALS = {"field_id": "fields", "antibody": "antibodies", "gene": "genes"}
HELD_OUT: dict[str, tuple[str, ...]] = {
    "gene": ("field_id", "antibody", "gene"),
    "antibody": ("field_id", "antibody"),
    "paper": ("field_id", "antibody"),
    "none": ("field_id",),
}
"""How a dataset is split -> columns whose values may be on one side only. SubCell's own lists share genes."""

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
    SubcellError : something is on both sides that may not be, with examples
    """
    counts: dict[str, int] = {}
    for name, plural in PLURALS.items():
        if name not in obs:
            continue
        values = obs[name].astype(object)
        learned = set(values[split.isin(("train", "valid")).to_numpy()].dropna())
        shared = sorted(map(str, learned & set(values[(split == "test").to_numpy()].dropna())))
        counts[f"{plural}_in_train_and_test"] = len(shared)
        if shared and name in HELD_OUT[by]:
            raise SubcellError(
                f"{where}: {len(shared)} {plural} are both in the training or validation part and in the test part "
                f"({', '.join(shared[:SHOWN])}{', ...' if len(shared) > SHOWN else ''}), though the split is by {by}: a "
                f"score would be of what was learned by heart. Correct the column `split` of the sheet, leave it out to "
                "have the dataset split here, or say with `split: {by: ...}` what is held out"
            )
    return counts


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


def check_dataset(
    fields: pd.DataFrame, ledgers: Iterable[pd.DataFrame], *, by: str, dataset: str, out_tsv: str | Path
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

    Raises
    ------
    SubcellError : something is on both sides
    """
    split = fields["split"].astype(object)
    counts = check_split(fields, split, by=by, where=f"dataset {dataset}")
    files = pd.concat([ledger_table(), *ledgers], ignore_index=True)
    files = files[(files["status"] == "ok") & files["channel"].isin(CHANNELS)]
    varied = files.groupby("channel")["sha256"].transform("nunique") > 1
    twins = duplicates_between_sides(fields, files[varied]) if by != "none" else pd.DataFrame()
    if len(twins):
        shown = "; ".join(f"{row.channel} of {row.fields}" for row in twins.head(SHOWN).itertuples())
        raise SubcellError(
            f"dataset {dataset}: {len(twins)} images are the same file on both sides of the split: {shown}. Remove one of "
            "each from the sheet, or put both on one side"
        )
    sides = {side: fields[(split == side).to_numpy()] for side in ("train", "test")}
    rows: list[dict[str, object]] = [
        {
            "checked": plural,
            **{side: part[name].nunique() for side, part in sides.items()},
            "on_both_sides": counts[f"{plural}_in_train_and_test"],
        }
        for name, plural in PLURALS.items()
        if name in fields
    ]
    hashes = {side: files.loc[files["field_id"].isin(part["field_id"]), "sha256"] for side, part in sides.items()}
    rows.append(
        {"checked": "images by hash", **{side: found.nunique() for side, found in hashes.items()}, "on_both_sides": 0}
    )
    with replacing(out_tsv) as to:
        pd.DataFrame(rows, columns=list(LEAKAGE_COLUMNS)).to_csv(to, sep="\t", index=False, lineterminator="\n")
