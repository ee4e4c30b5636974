"""Batches straight from crop files: for training here, and shuffled for your own code (docs/images.md)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import DataLoader, Dataset

from subcell.crops.store import CropStore


class Crops(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Row numbers of a batch -> themselves and its crops as stored, in any worker process."""

    def __init__(self, store: CropStore) -> None:
        self._store = store

    def __getitem__(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(rows), torch.from_numpy(self._store.read(rows))


def shuffled_crops(
    store: CropStore,
    *,
    batch_size: int,
    seed: int,
    epoch: int = 0,
    first: int = 0,
    rows: ArrayLike | None = None,
    workers: int = 0,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every cell once, in random order over all shards.

    A batch depends on seed, epoch and its number alone: whoever stopped after `n` batches goes on with `first=n`, with
    any number of workers, and gets what an undisturbed run would have had.

    Parameters
    ----------
    store : crop files of one or many shards
    batch_size : cells a batch; the last one may have fewer
    seed, epoch : of the order
    first : batches of this epoch that were seen already
    rows : numbers of the cells to read; all when None
    workers : processes that read ahead, two batches each; 0 reads in this one

    Yields
    ------
    rows : (N,) int64 numbers of the cells in `store.obs`
    images : (N, 6, H, W) uint8 (int32 of 16-bit files): nucleus mask, cell mask, channels
    """
    numbers = np.arange(len(store)) if rows is None else np.unique(np.asarray(rows, dtype=np.int64))
    order = np.random.default_rng((seed, epoch)).permutation(numbers)
    batches = [order[start : start + batch_size] for start in range(first * batch_size, len(order), batch_size)]
    for numbers_read, images in DataLoader(Crops(store), sampler=batches, batch_size=None, num_workers=workers):
        # Torch knows little of uint16.
        yield numbers_read, images.to(torch.int32) if images.dtype == torch.uint16 else images
