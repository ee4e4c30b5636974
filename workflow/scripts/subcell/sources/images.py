"""Bring the images of fields into a shard's folder: links to local files and to what was fetched from the web."""

import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.catalog.fields import PATH_COLUMNS
from subcell.catalog.paths import is_url
from subcell.catalog.planes import split_plane
from subcell.catalog.set_aside import reason_of, set_aside_table
from subcell.channels import CHANNELS
from subcell.errors import ImageError
from subcell.hashing import sha256_of
from subcell.imaging.ledger import LEDGER_NAME, ledger_table, write_ledger
from subcell.imaging.read import file_kind, read_plane
from subcell.sources.download import Downloader, Failed, Record

Progress = Callable[[Iterable[Any]], Iterable[Any]]
_EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif"}


def safe_name(field_id: str) -> str:
    """File name for a field: what is readable of its id, and a hash that keeps it apart from all others."""
    plain = unicodedata.normalize("NFKD", field_id).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:60] or "field"
    return f"{slug}-{hashlib.sha256(field_id.encode()).hexdigest()[:10]}"


def link_images(
    fields: pd.DataFrame,
    out_dir: str | Path,
    *,
    downloader: Downloader | None = None,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring the images of fields into a folder, with a ledger.

    Local files are linked to; files on the web are fetched into the downloader's cache, checked to be readable, and
    linked from there. A field of which any file cannot be had is set aside; its rows stay in the ledger with the reason.

    Parameters
    ----------
    fields : table of fields, with absolute paths or http(s) addresses
    out_dir : folder to write; it appears when it is complete, and replaces one that an earlier run wrote
    downloader : brings what lies on the web
    progress : wraps the loop over fields, as tqdm does

    Returns
    -------
    ledger : as written to `ledger.tsv`
    set_aside : the fields that cannot be used, stage "download"

    Raises
    ------
    Unreachable : a server brings nothing at the moment
    """
    out_dir = Path(out_dir)
    fetched = _fetch(fields, downloader)
    temporary = out_dir.with_name(f".{out_dir.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    rows: list[dict[str, object]] = []
    set_aside = []
    records = fields[["field_id", *PATH_COLUMNS]].to_dict("records")
    for record in progress(records) if progress else records:
        field_rows = _bring_field(record, temporary, fetched, downloader)
        reasons = [f"{row['channel']}: {row['reason']}" for row in field_rows if row["reason"]]
        if reasons:
            reason = "; ".join(reasons)
            set_aside.append({"field_id": record["field_id"], "row": None, "stage": "download", "reason": reason})
            field_rows = [{**row, "status": "set aside", "reason": row["reason"] or reason} for row in field_rows]
        rows.extend(field_rows)
    ledger = ledger_table(rows)
    write_ledger(temporary, ledger)
    if out_dir.is_dir() and (not any(out_dir.iterdir()) or (out_dir / LEDGER_NAME).exists()):
        shutil.rmtree(out_dir)
    temporary.rename(out_dir)
    return ledger, set_aside_table(set_aside)


def addresses(fields: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """(field_id, address) of every file of a table of fields that lies on the web; a file of several planes comes once
    a plane."""
    for channel in PATH_COLUMNS:
        for field_id, text in fields[["field_id", channel]].dropna().itertuples(index=False):
            source = split_plane(text)[0]
            if is_url(source):
                yield field_id, source


def _fetch(fields: pd.DataFrame, downloader: Downloader | None) -> dict[str, Record | Failed]:
    """Fetch every address of a table of fields; what comes must be readable wherever the table uses it."""
    planes: dict[str, set[str]] = {}
    for channel in PATH_COLUMNS:
        for text in fields[channel].dropna():
            source, plane = split_plane(text)
            if is_url(source):
                planes.setdefault(source, set()).update({plane} if channel in CHANNELS else ())
    if not planes:
        return {}
    if downloader is None:
        raise ImageError(f"{next(iter(planes))}: lies on the web, and nothing was given to fetch it with")

    def check(url: str, path: Path) -> None:
        file_kind(path)
        for plane in sorted(planes[url]):
            read_plane(path, plane)

    return downloader.fetch(planes, check)


def _bring_field(
    record: dict[str, Any],
    folder: Path,
    fetched: dict[str, Record | Failed],
    downloader: Downloader | None,
) -> list[dict[str, object]]:
    """Ledger rows of one field; a reason stands where a file cannot be had."""
    rows: list[dict[str, object]] = []
    done: dict[str, dict[str, object]] = {}
    for channel in PATH_COLUMNS:
        if not isinstance(record[channel], str):
            continue
        source, plane = split_plane(record[channel])
        # Channels may be planes of one file, which is then linked and hashed once.
        if source not in done:
            stem = f"{safe_name(record['field_id'])}_{channel}"
            try:
                if downloader is not None and source in fetched:
                    done[source] = _link_fetched(source, folder / stem, fetched[source], downloader)
                else:
                    done[source] = _link_local(source, folder / stem)
            except Exception as error:
                reason = reason_of(error, record["field_id"], "listing")
                tries = getattr(fetched.get(source), "tries", 1)
                done[source] = {"file": "", "bytes": 0, "sha256": "", "tries": tries, "reason": reason}
        row = {"field_id": record["field_id"], "channel": channel, "plane": plane, "url": source, "status": "ok"}
        rows.append({"modified_ns": 0, **row, **done[source]})
    return rows


def _link_fetched(url: str, path: Path, outcome: Record | Failed, downloader: Downloader) -> dict[str, object]:
    """Link to a file of the cache and give its ledger entries."""
    if isinstance(outcome, Failed):
        raise ImageError(f"{url}: {outcome}")
    path = path.with_name(path.name + _EXTENSIONS[file_kind(downloader.cache.path(url))])
    downloader.cache.link(url, path)
    entries = {"bytes": outcome.bytes, "sha256": outcome.sha256, "tries": outcome.tries}
    return {"file": path.name, **entries, "reason": ""}


def _link_local(source: str, path: Path) -> dict[str, object]:
    """Link to a file of the user, or copy it where the file system has no links, and give its ledger entries."""
    path = path.with_name(path.name + _EXTENSIONS[file_kind(source)])
    original = Path(os.path.abspath(source))
    try:
        path.symlink_to(original)
    except OSError:
        shutil.copyfile(original, path)
    try:
        # Before its content: a file that is still being written is hashed again when it is read.
        status = path.stat()
        digest = sha256_of(path)
    except OSError as error:
        raise ImageError(f"{source}: cannot read ({error.strerror or error})") from error
    entries = {"bytes": status.st_size, "sha256": digest, "modified_ns": status.st_mtime_ns}
    return {"file": path.name, **entries, "tries": 1, "reason": ""}
