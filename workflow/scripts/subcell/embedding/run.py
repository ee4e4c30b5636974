"""Embed the cells of a shard, and join shards into one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from subcell.channels import CHANNELS
from subcell.crops.anndata_file import join_tables
from subcell.crops.store import CropStore
from subcell.embedding.models import ATTENTION, CLASS_ATTENTION, Embedder, require_channels
from subcell.embedding.reading import read_ahead, read_with_workers
from subcell.embedding.scale import largest_upsampling, require_scale
from subcell.embedding.store import Vectors, create_vectors, plain, read_vectors
from subcell.errors import NothingLeftError, SubcellError

BATCH_BYTES = 2**25
"""Crops read at a time."""

MERGE_BYTES = 2**27
"""Vectors held in memory while shards are joined."""

MAPS = (ATTENTION, CLASS_ATTENTION)
"""What is kept only on request: a hundred times as large as a vector."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def embed_shard(
    crops_path: str | Path,
    embedder: Embedder,
    out_path: str | Path,
    *,
    batch_size: int | None = None,
    keep_attention: bool = False,
    allow_upsampling: bool = True,
    workers: int = 0,
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """Embed all cells of one crop file.

    Parameters
    ----------
    crops_path : crop file; one without cells gives a file without rows
    embedder : see `subcell.embedding.models`
    out_path : AnnData file to write: X float32 (cells, features), obs as in the crops, rows sorted by cell_id, and in
        obsm whatever else the model gives
    batch_size : cells embedded at a time; None takes what fits into `BATCH_BYTES`, at most 256
    keep_attention : also write maps of attention, (cells, heads, h, w) float16
    allow_upsampling : embed fields whose pixels are more than four times those of the crops
    workers : processes that read crops; none reads in a thread beside the network
    about : more for `uns`
    progress : wraps the loop over batches, as tqdm does
    log : is told what a person should know

    Raises
    ------
    SubcellError : the model needs a channel that a field does not have, pixels are too coarse, or a vector is not finite
    """
    store = CropStore(crops_path)
    # Sorted here, so that joining shards reads each of them once from front to back.
    order = np.argsort(store.obs.index.to_numpy(object), kind="stable")
    obs = store.obs.iloc[order]
    require_channels(obs, embedder, crops_path)
    require_scale(obs, store.um_per_px, allow=allow_upsampling, crops_path=crops_path, log=log)
    if batch_size is None:
        cell_bytes = (2 + len(CHANNELS)) * store.pixels**2 * store.dtype.itemsize
        batch_size = int(np.clip(BATCH_BYTES // cell_bytes, 1, 256))
    uns = {
        "model": embedder.name,
        **embedder.description,
        "channels": ";".join(CHANNELS),
        "pixels": store.pixels,
        "um_per_px": store.um_per_px,
        "l2_normalised": False,
        **(about or {}),
    }
    starts = range(0, len(order), batch_size)
    batches = [order[start : start + batch_size] for start in starts]
    images = read_with_workers(store, batches, workers=workers) if workers else read_ahead(store, batches)
    with create_vectors(out_path, obs, features=embedder.features, uns=uns) as file:
        for start in progress(starts) if progress else starts:
            rows = slice(start, start + batch_size)
            found = embedder.embed(next(images), obs.iloc[rows])
            broken = np.flatnonzero(~np.isfinite(found.vectors).all(axis=1))
            if len(broken):
                raise SubcellError(
                    f"{crops_path}: model {embedder.name!r} gave a vector that is not finite for cell "
                    f"{obs.index[start + broken[0]]!r}; its weights are damaged or overflow in this precision"
                )
            file.write("X", start, found.vectors)
            for name, values in found.more.items():
                if keep_attention or not name.startswith(MAPS):
                    if start == 0:
                        file.create(f"obsm/{name}", values.shape[1:], values.dtype)
                    file.write(f"obsm/{name}", start, values)
    store.close()


def merge_shards(paths: Sequence[str | Path], out_path: str | Path, *, set_aside: str | Path | None = None) -> None:
    """Join the vectors of all shards of a dataset, sorted by cell_id.

    The result does not depend on how many shards there are. Memory holds `obs` and one block of vectors.

    Parameters
    ----------
    paths : files that `embed_shard` wrote with one model
    out_path : AnnData file to write
    set_aside : table of the fields that were set aside, named in the error when nothing is left

    Raises
    ------
    NothingLeftError : no shard has a cell
    SubcellError : shards of different models, or a cell in two shards
    """
    shards = [read_vectors(path) for path in paths]
    if not sum(len(shard.obs) for shard in shards):
        table = f"; {set_aside} says which were set aside and why" if set_aside else ""
        raise NothingLeftError(f"{out_path}: no cell is left in any field of this dataset{table}")
    _require_one_model(shards)
    obs = join_tables([shard.obs for shard in shards])
    order = np.argsort(obs.index.to_numpy(object), kind="stable")
    obs = obs.iloc[order]
    repeated = obs.index[obs.index.duplicated()]
    if len(repeated):
        raise SubcellError(f"cell {repeated[0]!r} occurs in two shards: their fields overlap; embed the dataset again")
    # For each row of a shard, its row in the result; rising, because shards are sorted too.
    places = np.split(np.argsort(order), np.cumsum([len(shard.obs) for shard in shards])[:-1])
    filled = [shard for shard in shards if len(shard.obs)]
    uns = filled[0].uns | largest_upsampling(obs, filled[0].uns)
    with create_vectors(out_path, obs, features=filled[0].features, uns=uns) as file:
        for name, (row_shape, dtype) in filled[0].arrays.items():
            if name != "X":
                file.create(name, row_shape, dtype)
            rows = max(1, MERGE_BYTES // max(1, int(np.prod(row_shape)) * dtype.itemsize))
            for start in range(0, len(obs), rows):
                block = np.empty((min(rows, len(obs) - start), *row_shape), dtype)
                for shard, place in zip(shards, places, strict=True):
                    first, last = np.searchsorted(place, (start, start + rows))
                    if first < last:
                        with h5py.File(shard.path, "r") as source:
                            block[place[first:last] - start] = source[name][first:last]
                file.write(name, start, block)


def _require_one_model(shards: Sequence[Vectors]) -> None:
    first = shards[0]
    for shard in shards[1:]:
        ours, theirs = plain(first.uns), plain(shard.uns)
        if theirs != ours or shard.features != first.features:
            different = [key for key in ours if theirs.get(key) != ours[key]]
            what = f"{different[0]}: {theirs.get(different[0])!r}, not {ours[different[0]]!r}" if different else ""
            raise SubcellError(
                f"{shard.path} was not embedded as {first.path} ({what or 'other features'}); delete both and run again"
            )
