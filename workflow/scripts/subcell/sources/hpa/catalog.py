"""From a release of the Human Protein Atlas to a table of fields."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.catalog.fields import as_fields
from subcell.catalog.names import match_names
from subcell.catalog.paths import is_url
from subcell.catalog.set_aside import set_aside_table
from subcell.channels import COLORS
from subcell.errors import ImageError, SheetError
from subcell.replacing import replacing
from subcell.sources.download import Downloader, Failed, host_of
from subcell.sources.hpa.entries import read_entries
from subcell.sources.hpa.releases import Release, read_location_table
from subcell.sources.selection import Selection, select_fields

CHANNEL_COLORS = {channel: color for color, channel in COLORS.items()}


def read_release(
    settings: dict[str, Any],
    out_release: str | Path,
    out_terms: str | Path,
    *,
    entries: Sequence[str] = (),
    downloader: Downloader,
    log: Callable[[str], None] = print,
) -> None:
    """Write a table of all images of a release, or of some genes, and the terms of its use.

    Parameters
    ----------
    settings : release, xml, location_table of the dataset's block of the configuration
    entries : gene names or Ensembl ids whose own entries are fetched; without, the whole release
    out_release : parquet to write, `subcell.sources.hpa.entries.IMAGE_COLUMNS` and what the table of locations says of the
        gene: gene_locations, gene_reliability
    out_terms : json to write: release, licence, attribution, citations, and the files that were read

    Raises
    ------
    SheetError : a file of the release cannot be had or read; a gene that is not in the release
    """
    release = Release(settings["release"])
    used: list[dict[str, object]] = []

    def bring(addresses: Sequence[str]) -> list[Path]:
        return _bring(addresses, downloader, used)

    table_path = bring([settings["location_table"] or release.location_table])[0]
    genes = read_location_table(table_path)
    if entries:
        ids = _ensembl_ids(entries, genes)
        log(f"{release.name}: {len(ids)} genes, entry by entry")
        tables = [read_entries(path, log=log) for path in bring([release.entry(ensembl_id) for ensembl_id in ids])]
        images = pd.concat(tables, ignore_index=True)
    else:
        images = read_entries(bring([settings["xml"] or release.xml])[0], log=log)
    genes = genes.set_index("ensembl_id")
    for column in ("locations", "reliability"):
        images[f"gene_{column}"] = images["ensembl_id"].map(genes[column]).fillna("")
    with replacing(out_release) as to:
        images.to_parquet(to, index=False)
    terms = {**release.terms(), "files": used, "images": len(images)}
    with replacing(out_terms) as to:
        to.write_text(json.dumps(terms, indent=1) + "\n", encoding="utf-8")


def list_hpa_fields(
    release: str | Path,
    settings: dict[str, Any],
    selection: Selection,
    *,
    hosts: Sequence[str],
    log: Callable[[str], None] = print,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fields of a release that are wanted.

    Parameters
    ----------
    release : parquet that `read_release` wrote
    settings : the dataset's block of the configuration
    selection : which of them
    hosts : that may be asked for images

    Returns
    -------
    fields : see `subcell.catalog.fields`; label_level is antibody_line where the release annotates the antibody in this
        line, gene where only the table of locations says something
    set_aside : fields on hosts that may not be asked

    Raises
    ------
    SheetError : names or assays that the release does not have
    """
    images = pd.read_parquet(release)
    found, problems = match_names(settings["assays"], images["assay"].unique(), "assay")
    if problems:
        raise SheetError(f"{release}: {'; '.join(problems)}; there are {', '.join(sorted(images['assay'].unique()))}")
    fields = _fields_of(images[images["assay"].isin(found)])
    fields = select_fields(fields, selection, log=log)
    moved = settings["image_address"]
    if moved:
        fields["image"] = [moved.rstrip("/") + "/" + "/".join(image.split("/")[-2:]) for image in fields["image"]]
    foreign = [_foreign(image, hosts) for image in fields["image"]]
    set_aside = set_aside_table(
        {"field_id": field_id, "stage": "sheet", "reason": reason}
        for field_id, reason in zip(fields["field_id"], foreign, strict=True)
        if reason
    )
    fields = fields[pd.Series([not reason for reason in foreign], fields.index, dtype=bool)].reset_index(drop=True)
    for channel in settings["channels"]:
        fields[channel] = fields["image"] + f"_{CHANNEL_COLORS[channel]}." + fields["extension"]
    fields["pixel_size_um"] = settings["pixel_size_um"]
    fields["pixel_size_source"] = "HPA, nominal"
    return as_fields(fields.drop(columns=["image", "extension"])), set_aside


def allowed_hosts(settings: dict[str, Any]) -> tuple[str, ...]:
    """Hosts that a release may be fetched from."""
    own = [settings[key] for key in ("image_address", "xml", "location_table") if settings[key]]
    return (*Release(settings["release"]).hosts, *(host_of(address) for address in own if is_url(address)))


def _fields_of(images: pd.DataFrame) -> pd.DataFrame:
    """One row a field. An antibody against several genes stands in the entries of all of them with the same images."""
    own = images["locations"] != ""
    images = images.assign(
        label_level=own.map({True: "antibody_line", False: "gene"}),
        locations=images["locations"].where(own, images["gene_locations"]),
        reliability=images["reliability"].where(images["reliability"] != "", images["gene_reliability"]),
    )
    images.loc[images["locations"] == "", "label_level"] = ""
    joined = ("gene", "ensembl_id", "reliability", "locations")
    keys = ["image", "antibody", "cell_line", "extension"]
    fields = images[[*keys, "label_level", *joined]].drop_duplicates(ignore_index=True)
    several = fields.duplicated(keys, keep=False)
    if several.any():
        merged = fields[several].groupby(keys, sort=False)[["label_level", *joined]].agg(_join).reset_index()
        # One gene's word for an antibody against several is no more than that.
        merged["label_level"] = [level if ";" not in level else "gene" for level in merged["label_level"]]
        fields = pd.concat([fields[~several], merged], ignore_index=True)
    name = fields["image"].str.rsplit("/", n=1).str[-1]
    parts = name.str.split("_", n=3, expand=True).reindex(columns=range(3))
    fields = fields.assign(plate=parts[0], well=parts[1], site=parts[2])
    # A well holds one antibody; should two releases' names meet, the antibody keeps them apart.
    fields["field_id"] = name.where(~name.duplicated(keep=False), fields["antibody"] + "_" + name)
    fields = fields.drop_duplicates("field_id", ignore_index=True)
    text = ["gene", "ensembl_id", "reliability", "locations", "label_level", "cell_line", "antibody"]
    fields[text] = fields[text].where(fields[text] != "", None)
    return fields


def _join(values: pd.Series) -> str:
    return ";".join(dict.fromkeys(part for value in values for part in value.split(";") if part))


def _foreign(image: str, hosts: Sequence[str]) -> str:
    """Why an address of the release may not be fetched, or ""."""
    try:
        host = host_of(image)
    except Failed as failure:
        return f"{image}: {failure}"
    return "" if host in hosts else f"{image}: {host} is no host of this release; add it to download.hosts"


def _ensembl_ids(names: Sequence[str], genes: pd.DataFrame) -> list[str]:
    by_gene = genes.groupby("gene")["ensembl_id"].agg(list)
    ids = [name for name in names if name.upper().startswith("ENSG")]
    found, problems = match_names([name for name in names if name not in ids], by_gene.index, "gene")
    if problems:
        raise SheetError("The selection cannot be made:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return list(dict.fromkeys([*ids, *(ensembl_id for gene in sorted(found) for ensembl_id in by_gene[gene])]))


def _bring(addresses: Sequence[str], downloader: Downloader, used: list[dict[str, object]]) -> list[Path]:
    """Local paths of files of a release, fetched where they lie on the web."""
    outcomes = downloader.fetch([address for address in addresses if is_url(address)], _refuse_pages)
    paths = []
    for address in addresses:
        if not is_url(address):
            paths.append(Path(address))
            used.append({"url": address, "bytes": os.stat(address).st_size} if Path(address).is_file() else {})
            continue
        outcome = outcomes[address]
        if isinstance(outcome, Failed):
            raise SheetError(
                f"{address}: {outcome}; give the file as `xml` or `location_table` if you have it elsewhere"
            )
        paths.append(downloader.cache.path(address))
        used.append({"url": address, "bytes": outcome.bytes, "sha256": outcome.sha256})
    return paths


def _refuse_pages(url: str, path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise ImageError(f"{path}: a page of HTML")
