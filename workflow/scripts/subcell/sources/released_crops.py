"""SubCell's published crops: their names, their pixels, and some of them fetched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from numpy.typing import NDArray

from subcell.errors import ImageError, SubcellError

NAMED_BY = ("if_plate_id", "position", "sample", "cell_id")
IMAGE, MASK = "_cell_image.png", "_cell_mask.png"


def crop_name(row: Mapping[str, Any]) -> str:
    """Stem of a crop's files, `plate/plate_well_sample_cell`; numbers that a table kept as fractions ("1.0") lose it.

    >>> crop_name({"if_plate_id": 41.0, "position": "A1", "sample": "2", "cell_id": "7.0"})
    '41/41_A1_2_7'
    """
    plate, well, sample, cell = (_whole(row[name]) for name in NAMED_BY)
    return f"{plate}/{plate}_{well}_{sample}_{cell}"


def _whole(value: Any) -> str:
    text = str(value)
    return text[:-2] if text.endswith(".0") else text


def box(row: Mapping[str, Any]) -> tuple[slice, slice]:
    """Rows and columns of a cell in its field. The published columns x1 and x2 are rows, y1 and y2 columns."""
    x1, y1, x2, y2 = (int(float(row[name])) for name in ("x1", "y1", "x2", "y2"))
    return slice(x1, x2), slice(y1, y2)


def read_crop(stem: str | Path) -> NDArray[Any]:
    """Read a published crop in the form of ours.

    Parameters
    ----------
    stem : path without `_cell_image.png`

    Returns
    -------
    (6, H, W) of the image's type: nucleus mask (not published, zeros), cell mask, microtubules, ER, nucleus, protein. The
    file's red is the nucleus, green the ER, blue the microtubules and alpha the protein.

    Raises
    ------
    ImageError : a file is missing, no image, or image and mask do not fit each other
    """
    image = cv2.imread(f"{stem}{IMAGE}", cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(f"{stem}{MASK}", cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        raise ImageError(f"{stem}{IMAGE}: no PNG of four channels")
    if mask is None or mask.shape[:2] != image.shape[:2]:
        raise ImageError(f"{stem}{MASK}: no mask of the image's {image.shape[0]} x {image.shape[1]} pixels")
    mask = mask if mask.ndim == 2 else mask[..., 0]
    own = (mask > 0).astype(image.dtype)
    # OpenCV turns red, green, blue, alpha around to blue, green, red, alpha, which is our order already.
    return np.concatenate([np.zeros_like(own)[None], own[None], image.transpose(2, 0, 1)])


def fetch_released_crops(
    table: str | Path,
    out_folder: str | Path,
    *,
    crops: str,
    cells: int,
    cache: str | Path,
    log: Callable[[str], None] = print,
) -> None:
    """Bring the crops of some cells of the released table of vectors, with their vectors.

    Parameters
    ----------
    table : released h5ad; obs with `NAMED_BY`
    out_folder : folder to write: the PNG files, `cells.tsv` (name, row) and `vectors.npy` (cells, D) float32
    crops : address or folder of the published crops
    cells : how many, chosen by a hash of their names
    cache : folder of fetched files that outlives all outputs
    log : is told how far it is

    Raises
    ------
    SubcellError : the table lacks a column, or a crop cannot be had
    """
    try:
        with h5py.File(table, "r") as file:
            obs = read_elem(file["obs"])
            missing = [name for name in NAMED_BY if name not in obs]
            if missing:
                raise SubcellError(f"{table}: obs lacks {', '.join(missing)}; is it the released table of vectors?")
            rows = np.sort(_chosen(obs, cells))
            vectors = np.asarray(file["X"][rows], np.float32)
    except (OSError, KeyError) as problem:
        raise SubcellError(f"{table}: cannot be read as h5ad ({problem})") from None
    names = [crop_name(row) for row in obs.iloc[rows].to_dict("records")]
    files = [name + ending for name in names for ending in (IMAGE, MASK)]
    sources = _fetched(files, crops, Path(cache), log) if "://" in crops else {f: Path(crops) / f for f in files}
    lost = [str(path) for path in sources.values() if not path.is_file()]
    if lost:
        raise SubcellError(f"{len(lost)} of {len(files)} files of the published crops are not there, such as {lost[0]}")
    out = Path(out_folder)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, source in sources.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, temporary / name)
        np.save(temporary / "vectors.npy", vectors)
        pd.DataFrame({"name": names, "row": rows}).to_csv(temporary / "cells.tsv", sep="\t", index=False)
        shutil.rmtree(out, ignore_errors=True)
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _chosen(obs: pd.DataFrame, cells: int) -> NDArray[np.int64]:
    # Hashes of a million rows take a second; pandas' are the same on every machine.
    keys = pd.util.hash_pandas_object(obs[list(NAMED_BY)].astype(str), index=False).to_numpy()
    return np.argsort(keys, kind="stable")[:cells]


def _fetched(files: list[str], base: str, cache_folder: Path, log: Callable[[str], None]) -> dict[str, Path]:
    from subcell.sources.download import Cache, Downloader, Failed, host_of

    urls = {f"{base.rstrip('/')}/{name}": name for name in files}
    cache = Cache(cache_folder)
    found = Downloader(cache, hosts=(host_of(base),), log=log).fetch(urls, _check)
    failed = [f"{url}: {outcome}" for url, outcome in found.items() if isinstance(outcome, Failed)]
    if failed:
        raise SubcellError(f"{len(failed)} of {len(urls)} published files could not be fetched, such as {failed[0]}")
    return {name: cache.path(url) for url, name in urls.items()}


def _check(url: str, path: Path) -> None:
    if cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is None:
        raise ImageError(f"{path}: no image")
