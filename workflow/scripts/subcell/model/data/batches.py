"""The cells of a batch and the views of them that a network sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from subcell.crops.reader import Crops
from subcell.crops.store import CropStore
from subcell.model.data.augment import drop_landmarks, geometry, intensity
from subcell.model.data.sampler import ItemSampler
from subcell.model.network.inputs import mask_and_scale, some_masked
from subcell.model.objectives.recipes import Recipe
from subcell.model.running.processes import processes, rank
from subcell.model.running.stopping import deaf_children


class View(NamedTuple):
    """One look at the cells of a batch.

    Attributes
    ----------
    images : (N, C, H, W) float32
    masks : (N, H, W) bool, where the cell is in them
    """

    images: torch.Tensor
    masks: torch.Tensor


BLOCK = 128
"""Cells that are augmented at a time: the intermediate images of a whole batch would need many times its memory."""


def make_views(
    crops: torch.Tensor, *, recipe: Recipe, cells_per_item: int, generator: torch.Generator
) -> tuple[View, ...]:
    """Draw the recipe's views of some cells.

    In each view half of the cells of an item lose what is around them; then pixels are scaled and augmented.

    Parameters
    ----------
    crops : (N, 6, H, W) as stored, items side by side, on the device that is to do the work
    recipe : says how many views there are and what is done to them
    cells_per_item : cells of an item
    generator : on the device of `crops`

    Returns
    -------
    One view, or two
    """
    block = max(1, BLOCK // cells_per_item) * cells_per_item
    blocks = [_views_of_block(part, recipe, cells_per_item, generator) for part in crops.split(block)]
    return tuple(View(*map(torch.cat, zip(*parts, strict=True))) for parts in zip(*blocks, strict=True))


def _views_of_block(crops: torch.Tensor, recipe: Recipe, cells_per_item: int, generator: torch.Generator) -> list[View]:
    # Torch can hardly compute with uint16.
    own = crops[:, 1].float() > 0
    pixels = recipe.stains(crops).float()
    if recipe.drop_landmarks:
        pixels = drop_landmarks(pixels, p=recipe.drop_landmarks, generator=generator)
    views = []
    for number in range(recipe.views):
        masked = some_masked(
            items=len(crops) // cells_per_item, cells=cells_per_item, share=recipe.masked_cells, generator=generator
        )
        scaled = mask_and_scale(pixels, own | ~masked[:, None, None], scaling=recipe.scaling)
        images, masks = geometry(scaled, own, generator=generator)
        if recipe.intensity[number]:
            images = intensity(images, generator=generator)
        views.append(View(images, masks))
    return views


@contextmanager
def read_batches(
    store: CropStore, batches: Iterable[NDArray[np.int64]], *, workers: int
) -> Iterator[Iterator[tuple[torch.Tensor, torch.Tensor]]]:
    """Read the crops of batches ahead; the processes that read end with the `with` block.

    Parameters
    ----------
    store : of crops
    batches : row numbers of each, (N,)
    workers : processes that read; 0 reads in this one

    Yields
    ------
    iterator of row numbers (N,) and crops (N, 6, H, W) as stored, uint8 or uint16
    """
    loader = DataLoader(
        Crops(store), sampler=batches, batch_size=None, num_workers=workers, pin_memory=torch.cuda.is_available()
    )
    with deaf_children():
        coming = iter(loader)
    try:
        yield coming
    finally:
        # Left to themselves while an exception is about they would be sent a signal that they do not hear, and waited for.
        if isinstance(coming, _MultiProcessingDataLoaderIter):
            coming._shutdown_workers()


class RowsOfSteps(Sampler[NDArray[np.int64]]):
    """This process's part of the batches of all epochs from a step on."""

    def __init__(self, sampler: ItemSampler, first: int, steps: int) -> None:
        self._sampler, self._first, self._steps = sampler, first, steps

    def __len__(self) -> int:
        return self._steps - self._first

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        per_epoch = self._sampler.batches_per_epoch
        for epoch in range(self._first // per_epoch, -(-self._steps // per_epoch)):
            for number, rows in enumerate(self._sampler.epoch(epoch)):
                if self._first <= epoch * per_epoch + number < self._steps:
                    yield np.split(rows, processes())[rank()]
