"""What is measured while a network trains: kept with the state, written as a table and for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.replacing import replacing

COLUMNS = ("step", "epoch", "split", "metric", "value")
MOST_POINTS = 20_000
"""Steps of which values are kept; of a longer training every second, third, ... one."""


class Curves:
    """Values by step.

    Parameters
    ----------
    rows : of a run that goes on
    steps : of the whole training
    tensorboard : folder for TensorBoard's event files, None for none
    first : step that is taken next; what TensorBoard has of later ones is hidden
    """

    def __init__(
        self, rows: Iterable[Sequence[Any]] = (), *, steps: int, tensorboard: str | Path | None = None, first: int = 0
    ) -> None:
        self._rows: list[tuple[Any, ...]] = [tuple(row) for row in rows]
        self._every = -(-steps // MOST_POINTS)
        self._writer: Any = None
        if tensorboard is not None:
            from tensorboardX import SummaryWriter

            if not first:
                for events in Path(tensorboard).glob("events.out.tfevents.*"):
                    events.unlink()
            self._writer = SummaryWriter(str(tensorboard), purge_step=first + 1 if first else None)

    def add(self, step: int, epoch: int, split: str, values: Mapping[str, float]) -> None:
        """Note what was measured after a step; steps are counted from 1."""
        if split == "train" and step % self._every:
            return
        self._rows += [(step, epoch, split, name, float(value)) for name, value in values.items()]
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{split}/{name}", value, step)

    def means(self, *, since: int) -> dict[str, float]:
        """Mean of each value of the training batches after a step."""
        values: dict[str, list[float]] = {}
        for step, _, split, name, value in reversed(self._rows):
            if step <= since:
                break
            if split == "train":
                values.setdefault(name, []).append(value)
        return {name: sum(found) / len(found) for name, found in values.items()}

    def rows(self) -> list[tuple[Any, ...]]:
        """All of it, as plain values."""
        return self._rows

    def write(self, path: str | Path) -> None:
        """Write the table as parquet."""
        with replacing(path) as to:
            pd.DataFrame(self._rows, columns=list(COLUMNS)).to_parquet(to, index=False)

    def close(self) -> None:
        """Write what TensorBoard's files wait for."""
        if self._writer is not None:
            self._writer.close()
