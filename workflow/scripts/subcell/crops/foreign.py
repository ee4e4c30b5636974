"""h5ad files that others made: what is opened holds all of its values itself, and what cannot be used is said in one line.

An HDF5 file may send its reader to other files, or in circles, and may claim sizes that it does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from subcell.errors import SubcellError

SMALL_BYTES = 2**24
MOST_COMPRESSED = 1100
"""deflate makes data at most 1,032 times smaller; of what claims more than this and is not small, the values are missing."""

STARTS = {
    b"\x1f\x8b": "is compressed with gzip; unpack it first: gzip -d {name}",
    b"PAR1": 'is a parquet table; make it an h5ad first: vectors in X, what is known of cells in obs ("Metadata_..." columns)',
    b"PK\x03\x04": "is a zip archive; unpack it first, and name the h5ad in it",
}
"""First bytes of files that are brought instead of an h5ad, and what to do about them."""

ZARR = (
    "is a zarr store; make it an h5ad first: "
    "python -c \"import anndata; anndata.read_zarr('{name}').write_h5ad('{stem}.h5ad')\""
)
TABLE = (
    "is a table of text; make it an h5ad first: vectors in X, what is known of cells in obs (of CellProfiler's tables the "
    '"Metadata_..." columns)'
)
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab")


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn whatever a library raises over the content of a file into one line.

    Raises
    ------
    SubcellError : instead of any other error
    """
    try:
        yield
    except (SubcellError, MemoryError):
        raise
    except Exception as problem:  # each kind of broken bytes has an error of its own
        first = str(problem).strip().partition("\n")[0][:300] or type(problem).__name__
        raise SubcellError(f"{path}: cannot be read as h5ad ({first}); it is damaged, or of another kind") from None


@contextmanager
def open_h5ad(path: str | Path) -> Iterator[h5py.File]:
    """Open an h5ad that is not ours.

    Raises
    ------
    SubcellError : it is missing, no HDF5 file, reads from other files, has links that lead nowhere, or lacks values
    """
    path = Path(path)
    _refuse_other_formats(path)
    with reading(path):
        file = h5py.File(path, "r")
    with file:
        with reading(path):
            _check_nodes(file, path)
        yield file


def _refuse_other_formats(path: Path) -> None:
    names = {"name": path.name, "stem": path.stem}
    if path.is_dir():
        is_zarr = any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs", ".zmetadata"))
        raise SubcellError(f"{path}: {ZARR.format(**names) if is_zarr else 'is a folder; name an h5ad'}")
    try:
        with open(path, "rb") as file:
            first = file.read(4)
    except OSError as problem:
        raise SubcellError(f"{path}: cannot be opened ({problem.strerror}); correct the name") from None
    for start, reason in STARTS.items():
        if first.startswith(start):
            raise SubcellError(f"{path}: {reason.format(**names)}")
    if path.suffix.lower() in TABLE_SUFFIXES:
        raise SubcellError(f"{path}: {TABLE}")


def _check_nodes(file: h5py.File, path: Path) -> None:
    """Visit everything in a file once, without following what leads out of it."""
    seen: set[Any] = set()
    groups, links = [file["/"]], []
    while groups:
        group = groups.pop()
        for name in group:
            where = f"{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise SubcellError(f"{path}: {where} is a link to another file ({link.filename}); {COPY}")
            if isinstance(link, h5py.SoftLink):
                links.append((group, name, where, link.path))
                continue
            node = group[name]
            if isinstance(node, h5py.Dataset):
                _check_dataset(node, where, path)
            elif isinstance(node, h5py.Group) and (address := h5py.h5o.get_info(node.id).addr) not in seen:
                seen.add(address)
                groups.append(node)
    # Only now does no link lead out of the file.
    for group, name, where, target in links:
        try:
            group[name]
        except (KeyError, OSError, RuntimeError):
            raise SubcellError(f"{path}: {where} is a link that leads nowhere (to {target}); leave it out") from None


COPY = "values of other files are not read; copy them into this one"


def _check_dataset(dataset: h5py.Dataset, where: str, path: Path) -> None:
    made = dataset.id.get_create_plist()
    if made.get_external_count():
        raise SubcellError(
            f"{path}: the values of {where} lie in another file ({made.get_external(0)[0].decode()}); {COPY}"
        )
    if made.get_layout() == h5py.h5d.VIRTUAL:
        raise SubcellError(f"{path}: {where} is put together from other files; {COPY}")
    if dataset.shape is None:
        return
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > SMALL_BYTES + MOST_COMPRESSED * stored:
        raise SubcellError(
            f"{path}: {where} claims {dataset.shape} values, of which the file has {stored:,} bytes; it is damaged or cut off"
        )
