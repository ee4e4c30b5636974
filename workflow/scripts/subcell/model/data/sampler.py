"""Which cells are in which batch: antibody samples of a few cells each, spread over lines, wells and sites."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.errors import ConfigError, NothingLeftError

Positives = Literal["antibody", "gene", "locations", "compound", "none"]

STRATA = ("cell_line", "plate", "well", "site")
"""Cells of an antibody are taken in turn from each combination of these."""


class ItemSampler:
    """Batches of items; an item is some cells of one antibody (or one compound, or one field where there is neither).

    In an epoch each antibody gives the same number of items, and its cells come in turn from each of its strata, so
    that wells with many cells do not rule. All cells of an antibody come before any comes again; an antibody with
    fewer cells than an item holds repeats them within it.

    Parameters
    ----------
    obs : (cells, ...) table of cells
    rows : numbers of the rows to draw from
    items_per_batch, cells_per_item : a batch has items_per_batch x cells_per_item cells, or fewer where an epoch does
        not have as many items
    items_per_antibody : items that an antibody gives in an epoch
    seed : of all draws

    Notes
    -----
    A batch depends on the seed, the epoch and its number alone, so that training can go on anywhere.

    Raises
    ------
    NothingLeftError : no rows
    """

    def __init__(
        self,
        obs: pd.DataFrame,
        rows: Sequence[int] | NDArray[np.integer],
        *,
        items_per_batch: int,
        cells_per_item: int,
        items_per_antibody: int = 4,
        seed: int,
    ) -> None:
        numbers = np.asarray(rows, dtype=np.int64)
        if not len(numbers):
            raise NothingLeftError("no cell is left to train on; are there rows with split 'train' in the dataset?")
        self.cells_per_item = cells_per_item
        self.items_per_antibody = items_per_antibody
        self._seed = seed
        self._strata = list(_strata_of_antibodies(obs.iloc[numbers], numbers))
        items = len(self._strata) * items_per_antibody
        self.items_per_batch = min(items_per_batch, items)
        self.batches_per_epoch = items // self.items_per_batch

    def epoch(self, number: int) -> Iterator[NDArray[np.int64]]:
        """Batches of one epoch: rows (items * cells_per_item,), the cells of an item side by side."""
        items = np.array(self._items(number), dtype=np.int64)
        np.random.default_rng((self._seed, number, 1)).shuffle(items)
        for batch in range(self.batches_per_epoch):
            yield items[batch * self.items_per_batch : (batch + 1) * self.items_per_batch].reshape(-1)

    def _items(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((self._seed, epoch, 0))
        items = []
        for strata in self._strata:
            waiting: deque[int] = deque()
            for _ in range(self.items_per_antibody):
                item: list[int] = []
                while len(item) < self.cells_per_item:
                    if not waiting:
                        again = _in_turn(strata, rng)
                        # None twice in an item, unless the antibody has too few for it.
                        waiting.extend([cell for cell in again if cell not in item] or again)
                    item.append(waiting.popleft())
                items.append(item)
        return items


def _strata_of_antibodies(table: pd.DataFrame, rows: NDArray[np.int64]) -> Iterator[list[NDArray[np.int64]]]:
    """For each antibody the row numbers of its cells, an array a stratum."""
    owner = "field " + table["field_id"].astype(str)
    for column in ("compound", "antibody"):
        if column in table:
            owner = owner.mask(table[column].notna(), f"{column} " + table[column].astype(str))
    cells = pd.DataFrame({"owner": owner.to_numpy(), "row": rows})
    strata = [name for name in STRATA if name in table]
    cells[strata] = table[strata].astype(str).to_numpy()
    for _, of_one in cells.groupby("owner", sort=True):
        yield [stratum["row"].to_numpy() for _, stratum in of_one.groupby(["owner", *strata], sort=True)]


def _in_turn(strata: Sequence[NDArray[np.int64]], rng: np.random.Generator) -> list[int]:
    """All cells, one of each stratum in turn, strata and cells in random order."""
    order = [rng.permutation(strata[i]) for i in rng.permutation(len(strata))]
    longest = max(len(cells) for cells in order)
    return [int(cells[place]) for place in range(longest) for cells in order if place < len(cells)]


def positive_labels(obs: pd.DataFrame, positives: Positives) -> NDArray[np.int64]:
    """A number for each cell; cells with the same number are positives of the protein-specific loss.

    Parameters
    ----------
    obs : (cells, ...) table of cells
    positives : column whose equal values make positives, `locations` in any order; a cell without a value has only its own
        two views, and so has every cell with `none`

    Raises
    ------
    ConfigError : no cell has a value
    """
    alone = np.arange(len(obs), dtype=np.int64)
    if positives == "none":
        return alone
    values = obs[positives] if positives in obs else pd.Series([None] * len(obs), dtype=object)
    if positives == "locations":
        values = values.map(lambda text: ";".join(sorted(text.split(";"))), na_action="ignore")
    codes = pd.factorize(values)[0]
    if (codes < 0).all():
        raise ConfigError(
            f"`positives: {positives}` needs a column {positives!r} in the sheet, but no training cell has one; add it, "
            "or set `training.positives` (or `spare`) to what there is: antibody, gene, locations, compound or none"
        )
    return np.where(codes < 0, alone + codes.max() + 1, codes).astype(np.int64)
