"""Where fields come from: each source lists its fields, then brings the images of one shard."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from subcell.catalog.fields import shard_of, write_fields
from subcell.catalog.set_aside import write_set_aside
from subcell.catalog.sheet import read_sheet
from subcell.catalog.splits import read_antibody_lists, split_fields
from subcell.errors import NothingLeftError
from subcell.sources.images import link_images
from subcell.sources.simulate import design_fields, simulate_fields

SIMULATION = (
    "seed",
    "genes",
    "cell_lines",
    "fields_per_well",
    "cells_per_field",
    "field_px",
    "pixel_size_um",
    "microscope",
    "missing_channels",
)
SHEET = ("columns", "file_pattern", "defaults", "allow_outside")


def list_fields(
    dataset: str,
    settings: dict[str, Any],
    out_fields: Sequence[str],
    out_set_aside: str,
    *,
    log: Callable[[str], None] = print,
) -> None:
    """Write one table of fields a shard, and the table of fields that cannot be used.

    Parameters
    ----------
    dataset : its name
    settings : its block of the configuration
    out_fields : paths of the shards' parquet tables, in the order of the shards
    out_set_aside : path of the set-aside table

    Raises
    ------
    SheetError : the sheet as a whole cannot be read
    NothingLeftError : no field can be used
    """
    if settings["source"] == "simulate":
        fields = design_fields(dataset, **_pick(settings, SIMULATION))
        set_aside = pd.DataFrame(columns=["field_id", "row", "stage", "reason"])
    else:
        # A stain that stands in for a channel is read as that channel; the embeddings say so.
        columns = {**settings["columns"], **settings["channel_map"]}
        fields, set_aside = read_sheet(settings["sheet"], **{**_pick(settings, SHEET), "columns": columns})
    if fields.empty:
        reasons = set_aside["reason"].value_counts().head(3)
        raise NothingLeftError(
            f"dataset {dataset}: none of {len(set_aside)} fields can be used: "
            + "; ".join(f"{reason} ({count})" for reason, count in reasons.items())
        )
    split = settings["split"]
    lists = read_antibody_lists(split["lists"]) if split["by"] == "paper" else None
    fields = split_fields(
        fields, by=split["by"], train=split["train"], valid=split["valid"], seed=split["seed"], lists=lists, log=log
    )
    fields["shard"] = [shard_of(field_id, len(out_fields)) for field_id in fields["field_id"]]
    for shard, path in enumerate(out_fields):
        write_fields(fields[fields["shard"] == shard], path)
    write_set_aside(set_aside, out_set_aside)
    log(f"{dataset}: {len(fields)} fields in {len(out_fields)} shards, {len(set_aside)} set aside")


def fetch_images(fields: pd.DataFrame, settings: dict[str, Any], out_dir: str, *, progress: Any = None) -> None:
    """Bring the images of these fields into a folder, with a ledger row a file.

    Parameters
    ----------
    fields : rows of one shard
    settings : the dataset's block of the configuration
    out_dir : folder to write; it appears only when it is complete
    """
    if settings["source"] == "simulate":
        simulate_fields(fields, out_dir, progress=progress, **_pick(settings, SIMULATION))
    else:
        link_images(fields, out_dir, progress=progress)


def _pick(settings: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: settings[name] for name in names}
