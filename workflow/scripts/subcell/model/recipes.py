"""The paper's training objectives by name."""

from __future__ import annotations

from dataclasses import dataclass

from subcell.errors import ConfigError
from subcell.model.encoder import Positions


@dataclass(frozen=True)
class Recipe:
    """What a network is taught.

    Attributes
    ----------
    reconstruction : weight of the pixels of hidden patches; view 1 is reconstructed
    cell_specific : weight of the loss whose positives are two views of a cell
    protein_specific : weight of the loss whose positives are cells of one antibody
    positions : of the encoder
    pooling : gated attention, else the mean of tokens
    mask_ratio : share of patches of view 1 that are hidden from the encoder
    object_mask_ratio : see `subcell.model.masking.choose_patches`
    intensity : for views 1 and 2, whether they get the intensity augmentations on top of the geometric ones
    temperature : of both contrastive losses
    """

    reconstruction: float = 0.0
    cell_specific: float = 0.0
    protein_specific: float = 0.0
    positions: Positions = "learned"
    pooling: bool = True
    mask_ratio: float = 0.0
    object_mask_ratio: float = 0.0
    intensity: tuple[bool, bool] = (True, True)
    temperature: float = 0.1

    @property
    def views(self) -> int:
        """Views of a cell in a batch."""
        return 2 if self.cell_specific or self.protein_specific else 1


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
}
"""The released networks are `mae-cells-prots-pool` and `vit-prots-pool`."""


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises
    ------
    ConfigError : there is none
    """
    if name not in RECIPES:
        raise ConfigError(f"recipe {name!r} is unknown; expected one of {', '.join(RECIPES)}")
    return RECIPES[name]
