"""Read crops ahead, so that the network never waits for the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subcell.crops.store import CropStore


def read_ahead(store: CropStore, batches: Sequence[NDArray[np.intp]]) -> Iterator[NDArray[Any]]:
    """Give the images of each batch while the next is being read and unpacked.

    Parameters
    ----------
    store : where the crops lie
    batches : row numbers of each batch
    """
    with ThreadPoolExecutor(1) as pool:
        coming = [pool.submit(store.read, rows) for rows in batches[:1]]
        for rows in [*batches[1:], None]:
            if coming:
                current = coming.pop()
                if rows is not None:
                    coming.append(pool.submit(store.read, rows))
                yield current.result()


def read_with_workers(store: CropStore, batches: Sequence[NDArray[np.intp]], *, workers: int) -> Iterator[Any]:
    """As `read_ahead`, with several processes and in pinned memory: one cannot unpack as fast as a GPU computes.

    Parameters
    ----------
    workers : processes that read

    Yields
    ------
    (N, 6, H, W) tensors, pinned where there is a GPU
    """
    import torch
    from torch.utils.data import DataLoader

    loader: DataLoader[Any] = DataLoader(
        _Crops(store),  # type: ignore[arg-type]
        sampler=list(batches),
        batch_size=None,
        num_workers=workers,
        collate_fn=torch.from_numpy,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4,
    )
    return iter(loader)


class _Crops:
    """Crops by a batch of row numbers, in the form of a torch dataset."""

    def __init__(self, store: CropStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        return self.store.read(rows)
