"""Bring the released weights of a network: fetched once and checked, or taken from a folder."""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from subcell.catalog.released import WeightFile, weight_files
from subcell.errors import ImageError, SubcellError
from subcell.hashing import sha256_of
from subcell.replacing import replacing
from subcell.sources.download import Downloader, Failed
from subcell.tables import write_table

PUBLISHED_AT = "https://czi-subcell-public.s3.amazonaws.com/models"

ZIP = b"PK\x03\x04"
PYTORCH = (ZIP, b"\x80")
"""First bytes of a PyTorch file: a zip archive, or a bare pickle of old versions."""

LARGEST_MB = 2048

UNKNOWN = "not known"
"""What the list of a network's files says where no hash of the published file is known."""


def fetch_weights(
    name: str,
    out_folder: str | Path,
    *,
    downloader: Downloader | None = None,
    folder: str | Path | None = None,
    mirror: str | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """Bring all files of one released network into a folder.

    Parameters
    ----------
    name : of the network in resources/weights.tsv
    out_folder : folder to write, with the files under our names and `weights.tsv`: file, url, bytes, sha256, published_sha256
        (or `UNKNOWN`), licence, source
    downloader : brings files from their addresses; not needed with `folder`
    folder : take the files from here, under their published names, instead of fetching
    mirror : address that stands in for the published one
    log : is told of which files no published hash is known

    Raises
    ------
    ConfigError : no network of that name
    SubcellError : a file cannot be had, or is not the published one
    """
    rows = weight_files(name)
    unknown = [row.file for row in rows if not row.sha256]
    if unknown:
        log(
            f"{name}: no published hash is known of {', '.join(unknown)}; the checksums inside a file tell whether it is "
            "damaged, not whether it is the published one"
        )
    with replacing(out_folder) as to:
        to.mkdir()
        urls = [row.url.replace(PUBLISHED_AT, mirror.rstrip("/"), 1) if mirror else row.url for row in rows]
        if folder:
            sources = [_from_folder(row, Path(folder)) for row in rows]
        else:
            sources = _fetched(dict(zip(urls, rows, strict=True)), downloader)
        ledger = []
        columns = ["file", "url", "bytes", "sha256", "published_sha256", "licence", "source"]
        for row, url, source in zip(rows, urls, sources, strict=True):
            _link(source, to / row.file)
            known = [sha256_of(source), row.sha256 or UNKNOWN]
            ledger.append([row.file, url, source.stat().st_size, *known, row.licence, row.source])
        write_table(pd.DataFrame(ledger, columns=columns), to / "weights.tsv")


def check_weights(path: Path, row: WeightFile) -> None:
    """Compare a complete file with what the table knows of it, and with the checksums that PyTorch wrote into it.

    Raises
    ------
    ImageError : another size or hash, no file of PyTorch, or a damaged one
    """
    with open(path, "rb") as file:
        start = file.read(4)
    if not start.startswith(PYTORCH):
        raise ImageError(f"{path}: not a PyTorch file, it begins with {start!r}")
    size = path.stat().st_size
    if row.bytes and size != row.bytes:
        raise ImageError(f"{path}: {size:,} bytes instead of {row.bytes:,}")
    if row.sha256 and (found := sha256_of(path)) != row.sha256:
        raise ImageError(f"{path}: its sha256 is {found}, the published file's is {row.sha256}")
    if start == ZIP and (problem := _damage(path)):
        raise ImageError(f"{path}: damaged ({problem})")


def _damage(path: Path) -> str:
    """What is wrong with a zip archive, by the checksums of its members; "" where nothing is."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    # All that zipfile raises of an archive whose bytes are wrong, which may then look compressed or encrypted in other ways.
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as problem:
        return str(problem)
    return f"the checksum of {member} is wrong" if member else ""


def _fetched(rows: Mapping[str, WeightFile], downloader: Downloader | None) -> list[Path]:
    """Where the files of these addresses lie in the cache, fetched if they were not there."""
    if downloader is None:
        raise SubcellError("weights: neither a folder nor a way to fetch them was given")
    for url, row in rows.items():
        if not url:
            raise SubcellError(
                f"{row.name}: no address of {row.file} is known; see {row.source} and name the file in `checkpoint`"
            )

    def check(url: str, path: Path) -> None:
        check_weights(path, rows[url])

    found = downloader.fetch(rows, check)
    failed = [f"{url}: {outcome}" for url, outcome in found.items() if isinstance(outcome, Failed)]
    if failed:
        raise SubcellError(
            f"{len(failed)} of {len(rows)} files of weights could not be fetched, such as {failed[0]}. What has arrived is "
            "kept; run again, or put the files into a folder and name it in `weights.folder`"
        )
    return [downloader.cache.path(url) for url in rows]


def _from_folder(row: WeightFile, folder: Path) -> Path:
    path = folder / row.url.rsplit("/", 1)[-1]
    if not path.is_file():
        raise SubcellError(f"{path}: there is no such file; `weights.folder` needs the published files of {row.name}")
    try:
        check_weights(path, row)
    except ImageError as problem:
        raise SubcellError(f"{problem}; fetch it again from {row.url}") from None
    return path


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
