"""What of a model's block a stage's results depend on: other keys can change without computing anything again."""

from collections.abc import Mapping
from typing import Any

WEIGHTS = ("recipe", "size", "seed", "objective", "start")
OF_THE_RUN = ("checkpoint_activations", "compile", "workers", "checkpoints", "tensorboard")
"""Keys of `training` that say how it is run and not what is learned; as `subcell.model.loop.resume` sees it, too."""
NOT_EMBEDDED_WITH = ("evaluate_on", "train_on", "objective", "training", "start")


def learned_from(model: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a model that decide its weights, besides its crops."""
    training = {key: value for key, value in model["training"].items() if key not in OF_THE_RUN}
    return {**{key: model[key] for key in WEIGHTS}, "training": training}


def run_with(model: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a model's training that leave its weights as they are."""
    return {key: model["training"][key] for key in OF_THE_RUN}


def embedded_with(model: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a model that decide its vectors, besides crops and weights."""
    return {key: value for key, value in model.items() if key not in NOT_EMBEDDED_WITH}
