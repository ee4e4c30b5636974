"""The paper's variants as blocks of the configuration, its preset, and what may be changed."""

from typing import get_args

import pytest
import torch

from subcell.config.check import resolve
from subcell.config.training import PAPER, RELEASED_RECIPES, Objective, Recipe, Training
from subcell.errors import ConfigError
from subcell.model.loop.pretraining import Pretraining
from subcell.model.network.sizes import SIZES
from subcell.model.objectives.recipes import RECIPES, recipe_named
from subcell.model.objectives.recipes import Recipe as Objectives

# variant: reconstruction, cell-specific, protein-specific, supervised, pooling, positions, mask ratio, on the cell
PAPER_VARIANTS = {
    "mae": (1, 0, 0, 0, False, "sincos", 0.5, 0.5),
    "mae-cells": (1, 1, 0, 0, False, "sincos", 0.25, 0),
    "mae-cells-prots": (1, 1, 0.1, 0, False, "sincos", 0.25, 0),
    "mae-cells-prots-pool": (1, 1, 0.1, 0, True, "sincos", 0.25, 0),
    "vit-cells": (0, 1, 0, 0, False, "learned", 0, 0),
    "vit-prots": (0, 0, 1, 0, False, "learned", 0, 0),
    "vit-prots-pool": (0, 0, 1, 0, True, "learned", 0, 0),
    "vit-cells-prots": (0, 1, 1, 0, False, "learned", 0, 0),
    "vit-cells-prots-pool": (0, 1, 1, 0, True, "learned", 0, 0),
    "vit-supervised": (0, 0, 0, 1, False, "learned", 0, 0),
}


@pytest.mark.parametrize("name", PAPER_VARIANTS)
def test_variants_are_the_papers(name: str) -> None:
    recipe = RECIPES[name]
    assert PAPER_VARIANTS[name] == (
        *(recipe.reconstruction, recipe.cell_specific, recipe.protein_specific, recipe.supervised),
        *(recipe.pooling, recipe.positions, recipe.mask_ratio, recipe.object_mask_ratio),
    )
    assert (recipe.temperature, recipe.masked_cells, recipe.scaling, recipe.drop_landmarks) == (0.1, 0.5, "minmax", 0)
    # View 1 of a masked autoencoder is reconstructed, so its intensities stay.
    assert recipe.intensity == ((False, True) if name.startswith("mae") else (True, True))
    assert recipe.views == (1 if name == "mae" else 2)
    assert recipe.loses_channels == (name != "mae")


def test_stains_are_in_the_order_of_the_crops_and_the_protein_is_among_them() -> None:
    recipe = recipe_named("vit-prots", {"channels": ["protein", "er", "nucleus"]})
    assert recipe.channels == ("er", "nucleus", "protein")
    crops = torch.arange(6).reshape(1, 6, 1, 1)
    assert recipe.stains(crops).flatten().tolist() == [3, 4, 5]
    with pytest.raises(ConfigError, match="must have protein"):
        recipe_named("vit-prots", {"channels": ["er", "nucleus"]})


def test_configuration_and_library_have_the_same_recipes() -> None:
    assert set(get_args(Recipe)) == set(RECIPES) == set(PAPER_VARIANTS)
    assert set(Objective.model_fields) <= set(Objectives.__dataclass_fields__)


def model(**settings):
    resolved = resolve(
        {"datasets": {"demo": {"source": "simulate"}},
         "models": {"m": {"kind": "subcell", "train_on": ["demo"], **settings}}}
    )  # fmt: skip
    return resolved["models"]["m"]


@pytest.mark.parametrize("name", PAPER_VARIANTS)
def test_the_preset_is_the_paper(name: str) -> None:
    training = model(recipe=name, training={"preset": "paper"})["training"]
    assert training["items_per_batch"] * training["cells_per_item"] == (896 if name.startswith("mae") else 1024)
    assert {key: training[key] for key in PAPER} == {
        "epochs": 300,
        "cells_per_item": 8,
        "items_per_antibody": 4,
        "learning_rate": 1e-4,
        "warmup_epochs": 5,
        "validate_every": 10,
        "positives": "antibody",
        "spare": "none",
        "clip": "together",
        "select": "macro_ap",
        "ema": 0.0,
        "precision": "32",
    }
    neither = {"preset", "items_per_batch", "cells_per_pass", "checkpoint_activations", "compile", "workers",
               "checkpoints", "tensorboard"}  # fmt: skip
    assert set(Training.model_fields) == set(PAPER) | neither, "a key that changes results belongs in PAPER"


def test_a_deviation_from_the_preset_is_a_key() -> None:
    training = model(training={"preset": "paper", "precision": "bf16", "epochs": "3"})["training"]
    assert (training["precision"], training["epochs"], training["clip"]) == ("bf16", 3, "together")
    assert "preset" not in training
    with pytest.raises(ConfigError, match="did you mean `epochs`"):
        model(training={"preset": "paper", "epoch": 3})


def test_changes_to_a_recipe() -> None:
    changed = recipe_named(
        "mae-cells", {"mask_ratio": 0.5, "object_mask_ratio": 0.5, "masked_cells": 0, "pooling": None}
    )
    assert (changed.mask_ratio, changed.object_mask_ratio, changed.masked_cells) == (0.5, 0.5, 0)
    assert (changed.pooling, changed.cell_specific) == (False, 1.0)
    assert recipe_named("mae", model()["objective"]) == RECIPES["mae"]
    with pytest.raises(ConfigError, match="has no loss"):
        recipe_named("vit-cells", {"cell_specific": 0})
    with pytest.raises(ConfigError, match=r"`objective\.mask_ratio` must be above 0"):
        recipe_named("mae", {"mask_ratio": 0.0})


def test_a_supervised_network_needs_labels() -> None:
    with pytest.raises(ConfigError, match="needs `locations` of training cells"):
        Pretraining(recipe=RECIPES["vit-supervised"], size=SIZES["tiny"], image_px=32, classes=0, seed=0)


def test_only_published_recipes_can_be_fetched() -> None:
    for recipe in RECIPES:
        settings = {"datasets": {"d": {"source": "simulate"}},
                    "models": {"m": {"kind": "subcell", "released": "auto", "recipe": recipe}}}  # fmt: skip
        if recipe in RELEASED_RECIPES:
            resolve(settings)
        else:
            with pytest.raises(ConfigError, match=r"models\.m\.recipe: of .* no network was published"):
                resolve(settings)
