"""Where fields come from: each source lists its fields, then brings the images of one shard."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.catalog.fields import shard_of, write_fields
from subcell.catalog.set_aside import write_set_aside
from subcell.catalog.sheet import read_sheet
from subcell.catalog.splits import read_antibody_ids, read_antibody_lists, split_fields
from subcell.channels import CHANNELS
from subcell.errors import NothingLeftError, SheetError
from subcell.sources import subcell_crops
from subcell.sources.download import Cache, Downloader, Failed, Limits
from subcell.sources.hpa import catalog as hpa
from subcell.sources.images import addresses, link_images
from subcell.sources.selection import LISTS_ADDRESS, PUBLISHED_LISTS, Selection
from subcell.sources.simulate import Settings, design_fields, simulate_fields, write_truth

COLLECTIONS: dict[str, Any] = {"hpa": hpa, "subcell_crops": subcell_crops}
"""Public collections: what there is is read first, then fields are selected from it."""

LARGEST_TABLE_MB = 20_000
"""Largest table of a collection; the XML of all genes is one of a few gigabytes."""

SHEET = ("columns", "file_pattern", "defaults", "allow_outside")


def list_fields(
    dataset: str,
    settings: dict[str, Any],
    out_fields: Sequence[str],
    out_set_aside: str,
    *,
    release: str | None = None,
    download: dict[str, Any] | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Write one table of fields a shard, and the table of fields that cannot be used.

    Parameters
    ----------
    dataset : its name
    settings : its block of the configuration
    out_fields : paths of the shards' parquet tables, in the order of the shards
    out_set_aside : path of the set-aside table
    release : what was read of a public collection, for the sources that are one
    download : the configuration's block of that name

    Raises
    ------
    SheetError : the sheet as a whole cannot be read; names in a selection that are not there
    NothingLeftError : no field can be used
    """
    if settings["source"] == "simulate":
        fields = design_fields(dataset, **_simulation(settings))
        set_aside = pd.DataFrame(columns=["field_id", "row", "stage", "reason"])
    elif settings["source"] in COLLECTIONS:
        hosts = COLLECTIONS[settings["source"]].allowed_hosts(settings)
        downloader = downloader_of(download or {}, hosts=hosts, log=log)
        selection = selection_of(settings, downloader)
        if settings["source"] == "hpa":
            fields, set_aside = hpa.list_hpa_fields(str(release), settings, selection, hosts=downloader.hosts, log=log)
        else:
            fields, set_aside = subcell_crops.list_crop_fields(str(release), settings, selection, log=log)
    else:
        # A stain that stands in for a channel is read as that channel; the embeddings say so.
        columns = {**settings["columns"], **settings["channel_map"]}
        fields, set_aside = read_sheet(settings["sheet"], **{**_pick(settings, SHEET), "columns": columns})
        # A pattern that is wrong for one stain refuses no field; here it shows.
        found = ", ".join(f"{channel} {fields[channel].notna().sum()}" for channel in CHANNELS)
        log(f"{dataset}: files of {len(fields)} fields: {found}")
    if fields.empty and set_aside.empty:
        raise NothingLeftError(f"dataset {dataset}: the selection takes no field; ask for less at once")
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


def fetch_images(
    fields: pd.DataFrame,
    settings: dict[str, Any],
    out_dir: str,
    *,
    release: str | None = None,
    download: dict[str, Any] | None = None,
    progress: Any = None,
    log: Callable[[str], None] = print,
) -> None:
    """Bring the images of these fields into a folder, with a ledger row a file.

    Parameters
    ----------
    fields : rows of one shard
    settings : the dataset's block of the configuration
    out_dir : folder to write; it appears only when it is complete
    release : what was read of SubCell's crops, for that source
    download : the configuration's block of that name
    """
    if settings["source"] == "simulate":
        simulate_fields(fields, out_dir, progress=progress, **_simulation(settings))
        return
    collection = COLLECTIONS.get(settings["source"])
    hosts = collection.allowed_hosts(settings) if collection else ()
    downloader = downloader_of(download or {}, hosts=hosts, log=log)
    if settings["source"] == "subcell_crops":
        subcell_crops.bring_crops(fields, str(release), settings, out_dir, downloader=downloader)
    else:
        link_images(fields, out_dir, downloader=downloader, progress=progress)


def tell_truth(settings: dict[str, Any], out_dir: str) -> None:
    """Write what is true of a simulated dataset.

    Parameters
    ----------
    settings : the dataset's block of the configuration
    out_dir : folder to write; it appears only when it is complete
    """
    write_truth(out_dir, **_simulation(settings))


def read_release(
    settings: dict[str, Any],
    out_release: str,
    out_terms: str,
    *,
    entries: Sequence[str] = (),
    download: dict[str, Any],
    log: Callable[[str], None] = print,
) -> None:
    """Write the table of everything that a public collection has, and the terms of its use.

    Parameters
    ----------
    settings : source and addresses of the dataset's block of the configuration
    out_release, out_terms : parquet and json to write
    entries : genes of HPA whose own entries suffice
    download : the configuration's block of that name
    """
    hosts = COLLECTIONS[settings["source"]].allowed_hosts(settings)
    downloader = downloader_of(download, hosts=hosts, max_mb=LARGEST_TABLE_MB, log=log)
    if settings["source"] == "hpa":
        hpa.read_release(settings, out_release, out_terms, entries=entries, downloader=downloader, log=log)
    else:
        subcell_crops.read_crops_table(settings, out_release, out_terms, downloader=downloader, log=log)


def files_on_the_web(
    fields: pd.DataFrame, settings: dict[str, Any], *, release: str | None = None
) -> Iterable[tuple[str, str]]:
    """(field_id, address) of every file that a dataset has on the web."""
    if settings["source"] == "subcell_crops":
        return subcell_crops.addresses(fields, str(release), settings)
    return addresses(fields)


def downloader_of(
    settings: dict[str, Any],
    *,
    hosts: Sequence[str] = (),
    max_mb: int | None = None,
    log: Callable[[str], None] = print,
) -> Downloader:
    """What fetches files, as the block `download` of the configuration says.

    Parameters
    ----------
    settings : the block; keys that are absent take their defaults
    hosts : where redirects may lead, besides `settings["hosts"]`
    max_mb : largest file, where it is not an image
    """
    known = {name: settings[name] for name in Limits.__dataclass_fields__ if name in settings}
    megabytes = max_mb or settings.get("max_mb")
    limits = Limits(**known, **({"max_bytes": megabytes * 10**6} if megabytes else {}))
    return Downloader(
        Cache(settings.get("cache", ".cache/downloads")),
        limits,
        hosts=(*hosts, *settings.get("hosts", ())),
        stop_on_outage=settings.get("unreachable", "stop") == "stop",
        log=log,
    )


def selection_of(settings: dict[str, Any], downloader: Downloader) -> Selection:
    """The selection in a dataset's block; SubCell's lists of antibodies are fetched where they are named.

    Raises
    ------
    SheetError : a list cannot be had, or a published one has another number of ids than it should
    """
    antibody_ids = None
    if settings["antibody_lists"]:
        antibody_ids = frozenset(read_antibody_ids(_list_file(name, downloader) for name in settings["antibody_lists"]))
    names = ("cell_lines", "genes", "ensembl_ids", "antibodies", "reliability", "locations", "fields_per_antibody")
    return Selection(**{name: settings[name] for name in names if name in settings}, antibody_ids=antibody_ids)


def _list_file(name: str, downloader: Downloader) -> Path:
    if name not in PUBLISHED_LISTS:
        return Path(name)
    url = f"{LISTS_ADDRESS}/{name}_antibodies.txt"
    outcome = downloader.fetch([url], lambda url, path: None)[url]
    if isinstance(outcome, Failed):
        raise SheetError(f"{url}: {outcome}; name a file of your own in antibody_lists instead")
    path = downloader.cache.path(url)
    count = len(path.read_text(encoding="utf-8").split())
    if count != PUBLISHED_LISTS[name]:
        raise SheetError(f"{url}: {count:,} antibodies came, the published list has {PUBLISHED_LISTS[name]:,}")
    return path


def _pick(settings: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: settings[name] for name in names}


def _simulation(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in Settings.__dataclass_fields__ if name in settings}
