"""Encoders of the last validations, and of the best one, beside the state of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from subcell.model.network.encoder import Encoder
from subcell.model.network.sizes import Size
from subcell.model.weights.checkpoint import load_encoder, save_checkpoint

Select = Literal["last", "macro_ap", "label_ranking_ap", "retrieval", "embedding_rank"]
PREFIX = "step_"


class KeptEncoders:
    """Files `step_NUMBER.safetensors` in a folder: the last ones, and the one that is to be chosen.

    Parameters
    ----------
    folder : of the training's state
    select : metric of validation whose best is chosen; `last` needs no files
    last : how many of the last validations stay
    size : of the network
    """

    def __init__(self, folder: str | Path, *, select: Select, last: int, size: Size) -> None:
        self._folder = Path(folder)
        self._select = select
        self._last = last
        self._size = size
        self.best: tuple[int, float] | None = None
        """Step of the best validation so far, and its value."""

    def take(self, step: int, encoder: Encoder, values: Mapping[str, float], config: Mapping[str, Any]) -> None:
        """Keep the encoder of a validation, if it is among those that are to be kept."""
        value = values.get(self._select, math.nan)
        better = math.isfinite(value) and (self.best is None or value > self.best[1])
        if better:
            self.best = (step, value)
        if better or self._last:
            save_checkpoint(self._path(step), encoder, {**config, "step": step}, size=self._size)

    def prune(self, step: int) -> None:
        """Delete what need not stay now that the state of that step is saved, and what came after it."""
        numbers = sorted(int(path.stem.removeprefix(PREFIX)) for path in self._folder.glob(f"{PREFIX}*.safetensors"))
        stay = {number for number in numbers if number <= step}
        stay = set(sorted(stay)[-self._last :]) if self._last else set()
        if self.best is not None:
            stay.add(self.best[0])
        for number in set(numbers) - stay:
            self._path(number).unlink()

    def chosen(self, encoder: Encoder) -> tuple[Encoder, dict[str, Any]]:
        """The encoder that is to be written at the end, and why it; the last one where no validation had the metric."""
        if self.best is None:
            return encoder, {"selected_by": "last"}
        step, value = self.best
        return load_encoder(self._path(step))[0], {
            "selected_by": self._select,
            "selected_step": step,
            "selected_value": value,
        }

    def _path(self, step: int) -> Path:
        return self._folder / f"{PREFIX}{step:08d}.safetensors"
