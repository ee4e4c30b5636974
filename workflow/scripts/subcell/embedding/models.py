"""What turns cells into vectors: one interface for networks of any kind and for classical features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.errors import CheckpointError, SubcellError

PROBABILITIES, PROBABILITIES_SD = "probabilities", "probabilities_sd"
ATTENTION, CLASS_ATTENTION = "attention", "class_attention"


@dataclass(frozen=True)
class Embedded:
    """What a model says of some cells.

    Attributes
    ----------
    vectors : (N, features) float32
    more : what else goes into `obsm`, (N, ...) each: `probabilities` of locations, their deviation over several
        classifiers `probabilities_sd`, and, on request, where a network looks among its patches: `attention` of its
        pooling and `class_attention` of its last block, (N, heads, h, w) float16, each map summing to 1 or less (the class
        token has the rest)
    """

    vectors: NDArray[np.float32]
    more: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Embedder(Protocol):
    """A model as the embed stage sees it.

    Attributes
    ----------
    name : the model's name in the configuration
    features : a name for each number of a vector
    requires : channels that a dataset must have; a channel that is missing and not named here is read as zeros
    description : what goes with the vectors into `uns`: kind, checkpoint, normalisation, plain values only
    """

    @property
    def name(self) -> str: ...

    @property
    def features(self) -> Sequence[str]: ...

    @property
    def requires(self) -> Sequence[str]: ...

    @property
    def description(self) -> Mapping[str, Any]: ...

    def embed(self, images: NDArray[Any], obs: pd.DataFrame) -> Embedded:
        """Embed some cells.

        Parameters
        ----------
        images : (N, 6, H, W) uint8 or uint16: nucleus mask, cell mask, microtubules, ER, nucleus, protein
        obs : (N, ...) their rows of the crop table
        """
        ...


def require_channels(obs: pd.DataFrame, embedder: Embedder, crops: str | Path) -> None:
    """Refuse cells of fields that lack a channel which the model cannot do without.

    Parameters
    ----------
    obs : (N, ...) rows of a crop table
    embedder : the model
    crops : the file or folder that they are of, for the message

    Raises
    ------
    SubcellError : names the first such field and what it lacks
    """
    for channels, cells in obs.groupby("channels", observed=True):
        missing = [name for name in embedder.requires if name not in str(channels).split(";")]
        if missing:
            raise SubcellError(
                f"{crops}: field {cells['field_id'].iloc[0]!r} has no channel {', '.join(missing)}, which model "
                f"{embedder.name!r} needs: it was not trained with channels left out. Add the channel to the sheet, let "
                "another stand in for it (`channel_map`), take a released network without it (`released: auto`), or take "
                "this dataset out of the model's `evaluate_on`"
            )


def require_checkpoint(name: str, checkpoint: Any) -> Any:
    """The checkpoint of a model that cannot do without.

    Raises
    ------
    CheckpointError : there is none
    """
    if not checkpoint:
        raise CheckpointError(f"model {name!r} has no checkpoint; train it first or name one in `checkpoint`")
    return checkpoint
