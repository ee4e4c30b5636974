"""The paper's training objectives by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from subcell.channels import CHANNELS
from subcell.errors import ConfigError
from subcell.model.network.encoder import Positions
from subcell.model.network.inputs import Scaling


@dataclass(frozen=True)
class Recipe:
    """What a network is taught.

    Attributes
    ----------
    channels : stains that the network sees, in the order of `CHANNELS`; the last is the protein
    reconstruction : weight of the pixels of hidden patches; view 1 is reconstructed
    cell_specific : weight of the loss whose positives are two views of a cell
    protein_specific : weight of the loss whose positives are cells of one antibody
    supervised : weight of the locations' focal loss; without it the classifier only watches
    positions : of the encoder
    pooling : gated attention, else the mean of tokens
    mask_ratio : share of patches of view 1 that are hidden from the encoder
    object_mask_ratio : see `subcell.model.objectives.masking.choose_patches`
    masked_cells : share of the cells of an item that lose their surroundings, in each view anew
    scaling : of pixels, see `subcell.model.network.inputs.mask_and_scale`
    drop_landmarks : probability of a channel other than the protein to be zero in all views of a cell
    intensity : for views 1 and 2, whether they get the intensity augmentations on top of the geometric ones
    temperature : of both contrastive losses
    """

    channels: tuple[str, ...] = CHANNELS
    reconstruction: float = 0.0
    cell_specific: float = 0.0
    protein_specific: float = 0.0
    supervised: float = 0.0
    positions: Positions = "learned"
    pooling: bool = True
    mask_ratio: float = 0.0
    object_mask_ratio: float = 0.0
    masked_cells: float = 0.5
    scaling: Scaling = "minmax"
    drop_landmarks: float = 0.0
    intensity: tuple[bool, bool] = (True, True)
    temperature: float = 0.1

    def stains(self, crops: torch.Tensor) -> torch.Tensor:
        """What of (N, 6, H, W) stored crops the network sees, (N, channels, H, W)."""
        return torch.stack([crops[:, 2 + CHANNELS.index(name)] for name in self.channels], dim=1)

    @property
    def views(self) -> int:
        """Views of a cell in a batch."""
        return 2 if self.contrasts or self.supervised else 1

    @property
    def loses_channels(self) -> bool:
        """Whether views come without some channel at times, so that the network knows fields that lack one."""
        removed = len(self.channels) > 2 and any(self.intensity[: self.views])
        return bool(self.drop_landmarks or removed)

    @property
    def contrasts(self) -> bool:
        """Whether cells are compared with each other."""
        return bool(self.cell_specific or self.protein_specific)


def _mae(**settings: float | bool | tuple[bool, bool]) -> Recipe:
    shared = {"reconstruction": 1.0, "positions": "sincos", "mask_ratio": 0.25, "intensity": (False, True)}
    return Recipe(**{**shared, **settings})  # type: ignore[arg-type]


RECIPES = {
    "mae": _mae(mask_ratio=0.5, object_mask_ratio=0.5, pooling=False),
    "mae-cells": _mae(cell_specific=1.0, pooling=False),
    "mae-cells-prots": _mae(cell_specific=1.0, protein_specific=0.1, pooling=False),
    "mae-cells-prots-pool": _mae(cell_specific=1.0, protein_specific=0.1),
    "vit-cells": Recipe(cell_specific=1.0, pooling=False),
    "vit-prots": Recipe(protein_specific=1.0, pooling=False),
    "vit-prots-pool": Recipe(protein_specific=1.0),
    "vit-cells-prots": Recipe(cell_specific=1.0, protein_specific=1.0, pooling=False),
    "vit-cells-prots-pool": Recipe(cell_specific=1.0, protein_specific=1.0),
    "vit-supervised": Recipe(supervised=1.0, pooling=False),
}
"""The released networks are `mae-cells-prots-pool` and `vit-prots-pool`."""


def recipe_named(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of that name.

    Parameters
    ----------
    name : key of `RECIPES`
    changes : attributes that differ from it; None leaves one as it is

    Raises
    ------
    ConfigError : there is none, or the changes leave nothing to learn or no protein to see
    """
    if name not in RECIPES:
        raise ConfigError(f"recipe {name!r} is unknown; expected one of {', '.join(RECIPES)}")
    given = {key: value for key, value in (changes or {}).items() if value is not None}
    if "channels" in given:
        if CHANNELS[-1] not in given["channels"]:
            raise ConfigError(
                f"recipe {name!r}: `objective.channels` must have {CHANNELS[-1]}, which is what is compared"
            )
        given["channels"] = tuple(channel for channel in CHANNELS if channel in given["channels"])
    recipe = replace(RECIPES[name], **given)
    if not (recipe.contrasts or recipe.reconstruction or recipe.supervised):
        raise ConfigError(f"recipe {name!r} with these changes has no loss; give one of its weights in `objective`")
    if recipe.reconstruction and not recipe.mask_ratio:
        raise ConfigError(f"recipe {name!r} reconstructs hidden patches; `objective.mask_ratio` must be above 0")
    return recipe
