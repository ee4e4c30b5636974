"""SubCell's published crops of single cells: 1024-px images with their masks, which need no segmentation."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from subcell.catalog.fields import as_fields
from subcell.catalog.names import cell_line_name, location_name
from subcell.catalog.paths import is_url
from subcell.catalog.set_aside import set_aside_table
from subcell.errors import SheetError
from subcell.imaging.ledger import LEDGER_NAME, ledger_table, write_ledger
from subcell.imaging.rgba import read_rgba
from subcell.replacing import replacing
from subcell.sources.download import Downloader, Failed, host_of
from subcell.sources.selection import Selection, select_fields

_GIVEN = ("if_plate_id", "position", "sample", "cell_id", "x1", "y1", "x2", "y2")
_DESCRIBED = {
    "atlas_name": "cell_line",
    "antibody": "antibody",
    "ensembl_ids": "ensembl_id",
    "gene_names": "gene",
    "locations": "locations",
}
_TEXT = ("field_id", "plate", "well", "site", *_DESCRIBED.values())
BOX = ("row_start", "column_start", "row_stop", "column_stop")
"""The cell's box in its field, in pixels. The published table calls rows x and columns y."""

CELLS_SCHEMA = pa.schema([(name, pa.string()) for name in _TEXT] + [(name, pa.int64()) for name in ("cell", *BOX)])
FILES = ("cell_image", "cell_mask")
CELLS_NAME = "cells.parquet"
BLOCK_ROWS = 100_000

TERMS = {
    "source": "SubCell's crops of Human Protein Atlas cells",
    "url": "https://virtualcellmodels.cziscience.com",
    "licence": "images: Creative Commons Attribution-ShareAlike (Human Protein Atlas); see the data set's card",
    "licence_url": "https://www.proteinatlas.org/about/licence",
    "attribution": "Image credit: Human Protein Atlas; crops: Gupta et al., SubCell",
    "citations": ["Gupta A et al. SubCell. bioRxiv 2024.12.06.627299. doi:10.1101/2024.12.06.627299"],
}


def read_crops_table(
    settings: dict[str, Any],
    out_release: str | Path,
    out_terms: str | Path,
    *,
    downloader: Downloader,
    log: Callable[[str], None] = print,
) -> None:
    """Write a table of all published cells, in a known order and with one spelling for each name.

    Parameters
    ----------
    settings : address and metadata of the dataset's block of the configuration
    out_release : parquet to write, `CELLS_SCHEMA`; cells whose row cannot be read are left out and counted in the log
    out_terms : json to write: licence, attribution, citations

    Raises
    ------
    SheetError : the table cannot be had, or lacks columns
    """
    place = settings["metadata"] or f"{settings['address'].rstrip('/')}/metadata.csv"
    path = Path(place)
    if is_url(place):
        outcome = downloader.fetch([place], lambda url, path: None)[place]
        if isinstance(outcome, Failed):
            raise SheetError(f"{place}: {outcome}; give the table as `metadata` if you have it elsewhere")
        path = downloader.cache.path(place)
    rows = bad = 0
    with replacing(out_release) as to:
        with pq.ParquetWriter(to, CELLS_SCHEMA, compression="zstd") as writer:
            for block in _blocks(path):
                cells, unreadable = _cells_of(block)
                writer.write_table(pa.Table.from_pandas(cells, schema=CELLS_SCHEMA, preserve_index=False))
                rows, bad = rows + len(cells), bad + unreadable
                log(f"{rows:,} cells read" + (f", {bad:,} rows without a usable name or box" if bad else ""))
        if not rows:
            raise SheetError(f"{path}: no row names a plate, well, sample and cell")
    terms = {**TERMS, "files": [{"url": place}], "cells": rows, "rows_unreadable": bad}
    Path(out_terms).write_text(json.dumps(terms, indent=1) + "\n", encoding="utf-8")


def _blocks(path: Path) -> Iterator[pd.DataFrame]:
    try:
        with pd.read_csv(path, dtype=str, keep_default_na=False, chunksize=BLOCK_ROWS) as reader:
            for number, block in enumerate(reader):
                missing = [name for name in (*_GIVEN, *_DESCRIBED) if name not in block]
                if number == 0 and missing:
                    raise SheetError(f"{path}: the table of crops lacks the columns {', '.join(missing)}")
                yield block
    except (OSError, ValueError) as error:
        raise SheetError(f"{path}: cannot read the table of crops ({error})") from error


def _cells_of(block: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Cells of some rows of the published table, and how many rows cannot be read."""
    # Ids and boxes are stored as floating point numbers, "1.0".
    numbers = block[["cell_id", "x1", "y1", "x2", "y2"]].apply(pd.to_numeric, errors="coerce")
    named = (block[["if_plate_id", "position", "sample"]] != "").all(axis=1)
    usable = named & numbers.notna().all(axis=1) & (numbers["cell_id"] % 1 == 0)
    numbers, block = numbers[usable].astype("int64"), block[usable]
    plate, well, site = (_plain(block[name]) for name in ("if_plate_id", "position", "sample"))
    columns = {"field_id": plate + "_" + well + "_" + site, "plate": plate, "well": well, "site": site}
    for theirs, ours in _DESCRIBED.items():
        clean = {"cell_line": cell_line_name, "locations": location_name}.get(ours, str.strip)
        columns[ours] = block[theirs].map({text: _listed(text, clean) for text in block[theirs].unique()})
    cells = pd.DataFrame(columns, dtype=object)
    cells["cell"] = numbers["cell_id"]
    for ours, theirs in zip(BOX, ("x1", "y1", "x2", "y2"), strict=True):
        cells[ours] = numbers[theirs]
    return cells, int((~usable).sum())


def _plain(column: pd.Series) -> pd.Series:
    """Names as the files have them: a plate that was stored as a number is written without its ".0"."""
    return column.str.strip().str.removesuffix(".0")


def _listed(text: str, clean: Callable[[str], str]) -> str | None:
    """ "A,B" as "A;B"; None where there is nothing."""
    parts = [clean(part) for part in text.replace(",", ";").split(";") if part.strip() and part.strip() != "nan"]
    return ";".join(dict.fromkeys(parts)) or None


def list_crop_fields(
    release: str | Path, settings: dict[str, Any], selection: Selection, *, log: Callable[[str], None] = print
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fields that have published cells and are wanted; they have no images of their own.

    Returns
    -------
    fields, set_aside : see `subcell.catalog.sheet.read_sheet`
    """
    cells = pq.read_table(release, columns=list(_TEXT)).to_pandas()
    fields = cells.drop_duplicates("field_id", ignore_index=True).assign(reliability=None)
    fields = select_fields(fields, selection, log=log)
    fields["label_level"] = ["antibody_line" if isinstance(text, str) else None for text in fields["locations"]]
    fields["pixel_size_um"], fields["pixel_size_source"] = settings["pixel_size_um"], "HPA, nominal"
    return as_fields(fields), set_aside_table()


def crops_of(fields: pd.DataFrame, release: str | Path, settings: dict[str, Any]) -> pd.DataFrame:
    """Published cells of some fields, with the addresses of their files.

    Returns
    -------
    rows of the release in the order of fields and cells, with `cell_image` and `cell_mask`
    """
    wanted = sorted(fields["field_id"])
    table = pq.read_table(release, filters=[("field_id", "in", wanted)]) if wanted else CELLS_SCHEMA.empty_table()
    cells = table.to_pandas().drop_duplicates(["field_id", "cell"]).sort_values(["field_id", "cell"], ignore_index=True)
    stem = (
        settings["address"].rstrip("/")
        + "/"
        + cells["plate"]
        + "/"
        + cells["field_id"]
        + "_"
        + cells["cell"].astype(str)
    )
    return cells.assign(**{name: stem + f"_{name}.png" for name in FILES})


def allowed_hosts(settings: dict[str, Any]) -> tuple[str, ...]:
    """Hosts that crops may be fetched from."""
    return tuple(host_of(place) for place in (settings["address"], settings["metadata"]) if place and is_url(place))


def bring_crops(
    fields: pd.DataFrame, release: str | Path, settings: dict[str, Any], out_dir: str | Path, *, downloader: Downloader
) -> pd.DataFrame:
    """Fetch the crops of a shard's fields into a folder, with a ledger and a table of cells.

    A cell of which a file cannot be had stays in the ledger with the reason; the others of its field are kept.

    Parameters
    ----------
    fields : rows of one shard
    out_dir : folder to write; it appears when it is complete

    Returns
    -------
    ledger : as written
    """
    out_dir = Path(out_dir)
    cells = crops_of(fields, release, settings)
    outcomes = downloader.fetch([url for name in FILES for url in cells[name]], _check)
    temporary = out_dir.with_name(f".{out_dir.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    rows, complete = [], []
    for cell in cells.to_dict("records"):
        files = [_link(cell, name, outcomes[cell[name]], temporary, downloader) for name in FILES]
        rows += files
        complete.append(not any(row["reason"] for row in files))
    ledger = ledger_table(rows)
    write_ledger(temporary, ledger)
    for name in FILES:
        cells[name] = [Path(url).name for url in cells[name]]
    cells[complete].to_parquet(temporary / CELLS_NAME, index=False)
    if out_dir.is_dir() and (not any(out_dir.iterdir()) or (out_dir / LEDGER_NAME).exists()):
        shutil.rmtree(out_dir)
    temporary.rename(out_dir)
    return ledger


def _check(url: str, path: Path) -> None:
    read_rgba(path)


def _link(cell: dict[str, Any], name: str, outcome: Any, folder: Path, downloader: Downloader) -> dict[str, object]:
    url = cell[name]
    row: dict[str, object] = {"field_id": cell["field_id"], "channel": name, "plane": "", "url": url, "status": "ok"}
    if isinstance(outcome, Failed):
        reason = f"cell {cell['cell']}: {url}: {outcome}"
        return row | {
            "file": "",
            "bytes": 0,
            "sha256": "",
            "tries": outcome.tries,
            "status": "set aside",
            "reason": reason,
        }
    file = Path(url).name
    downloader.cache.link(url, folder / file)
    known = {"bytes": outcome.bytes, "sha256": outcome.sha256, "tries": outcome.tries}
    return row | {"file": file, **known, "reason": ""}


def addresses(fields: pd.DataFrame, release: str | Path, settings: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """(field_id, address) of every file to fetch."""
    cells = crops_of(fields, release, settings)
    return [(field_id, url) for name in FILES for field_id, url in zip(cells["field_id"], cells[name], strict=True)]
