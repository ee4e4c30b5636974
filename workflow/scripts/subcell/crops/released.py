"""Some published crops, as arrays in our order, beside the vectors that were released of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata.io import read_elem
from numpy.typing import NDArray

from subcell.catalog.paths import is_url
from subcell.crops.foreign import open_h5ad, reading
from subcell.crops.foreign_arrays import find_array, read_rows
from subcell.crops.published import nucleus_in, read_crop
from subcell.errors import SubcellError
from subcell.imaging.rgba import read_rgba
from subcell.replacing import replacing
from subcell.sources.download import Downloader, Failed
from subcell.tables import write_table

NAMED_BY = ("if_plate_id", "position", "sample", "cell_id")
FILES = ("cell_image", "cell_mask")


def crop_name(row: Mapping[str, Any]) -> str:
    """Stem of a crop's files, `plate/plate_well_sample_cell`; numbers that a table kept as fractions ("1.0") lose it.

    >>> crop_name({"if_plate_id": 41.0, "position": "A1", "sample": "2", "cell_id": "7.0"})
    '41/41_A1_2_7'
    """
    plate, well, sample, cell = (str(row[name]).removesuffix(".0") for name in NAMED_BY)
    return f"{plate}/{plate}_{well}_{sample}_{cell}"


def fetch_released_crops(
    table: str | Path,
    out_folder: str | Path,
    *,
    crops: str,
    cells: int,
    downloader: Downloader,
    log: Callable[[str], None] = print,
) -> None:
    """Bring the crops of some cells of the released table of vectors, with their vectors.

    Parameters
    ----------
    table : released h5ad; obs with `NAMED_BY`
    out_folder : folder to write: `cells.tsv` (name, row), `vectors.npy` (cells, D) float32, and a crop a cell, `0.npy` and
        so on, (6, H, W): nucleus mask (estimated), cell mask, microtubules, ER, nucleus, protein
    crops : address or folder of the published crops
    cells : how many, chosen by a hash of their names
    downloader : brings files from an address
    log : is told how far it is

    Raises
    ------
    SubcellError : the table lacks a column, or a crop cannot be had
    """
    with open_h5ad(table) as file, reading(table):
        obs = read_elem(file["obs"])
        missing = [name for name in NAMED_BY if name not in obs]
        if missing:
            raise SubcellError(f"{table}: obs lacks {', '.join(missing)}; is it the released table of vectors?")
        rows = np.sort(_chosen(obs, cells))
        vectors = read_rows(find_array(file, table, None)[1], rows)
    names = [crop_name(row) for row in obs.iloc[rows].to_dict("records")]
    places = {f"{name}_{kind}.png": f"{crops.rstrip('/')}/{name}_{kind}.png" for name in names for kind in FILES}
    paths = _fetched(places, downloader) if is_url(crops) else {name: Path(place) for name, place in places.items()}
    lost = [str(path) for path in paths.values() if not path.is_file()]
    if lost:
        raise SubcellError(f"{len(lost)} of {len(paths)} files of the published crops are not there, such as {lost[0]}")
    with replacing(out_folder) as to:
        to.mkdir()
        for number, name in enumerate(names):
            image, cell = read_crop(*(paths[f"{name}_{kind}.png"] for kind in FILES))
            masks = np.stack([nucleus_in(image[2], cell), cell]).astype(image.dtype)
            np.save(to / f"{number}.npy", np.concatenate([masks, image]))
        np.save(to / "vectors.npy", vectors)
        write_table(pd.DataFrame({"name": names, "row": rows}), to / "cells.tsv")
    log(f"{len(names)} published crops with their vectors")


def _chosen(obs: pd.DataFrame, cells: int) -> NDArray[np.int64]:
    # Hashes of a million rows take a second; pandas' are the same on every machine.
    keys = pd.util.hash_pandas_object(obs[list(NAMED_BY)].astype(str), index=False).to_numpy()
    return np.argsort(keys, kind="stable")[:cells]


def _fetched(places: Mapping[str, str], downloader: Downloader) -> dict[str, Path]:
    def check(url: str, path: Path) -> None:
        read_rgba(path)

    found = downloader.fetch(places.values(), check)
    failed = [f"{url}: {outcome}" for url, outcome in found.items() if isinstance(outcome, Failed)]
    if failed:
        raise SubcellError(f"{len(failed)} of {len(found)} published files could not be fetched, such as {failed[0]}")
    return {name: downloader.cache.path(url) for name, url in places.items()}
