"""The benchmarks that there are, and which models each of them scores. Read whenever the workflow is parsed."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Task:
    """What the workflow needs to know of a benchmark.

    Attributes
    ----------
    models : `all` models that have vectors of the dataset; `embedders`, those that turn images into vectors; `networks`,
        those with attention; `none`: it scores the dataset, not a model
    controls : it has control rows (`CONTROLS`); those without have bounds of their own, see docs/protocol.md
    trains : it trains classifiers, which a GPU makes faster; its module says so with `TRAINS`
    """

    models: Literal["all", "embedders", "networks", "none"] = "all"
    controls: bool = True
    trains: bool = False


SUITE: dict[str, Task] = {
    "localization": Task(trains=True),
    "cell_line": Task(trains=True),
    "retrieval": Task(),
    "transcriptome": Task(),
    "hierarchy": Task(),
    "interactions": Task(),
    "perturbation": Task(),
    "attention": Task(models="networks", controls=False),
    "robustness": Task(models="embedders", controls=False),
    "batch": Task(),
    "external": Task(trains=True),
    "segmentation": Task(models="none", controls=False),
}
"""In the order of tables."""

PLATE_ALONE = "plate_alone"
"""The control that knows the plate of a cell and nothing else: a shortcut, of the layout instead of the image."""

CONTROLS = ("random_labels", "random_features", "perfect_features", PLATE_ALONE)
"""Names of the rows that bound every benchmark; no model may be called so."""

NETWORKS = ("subcell", "random_vit", "dino4cells")
"""Kinds of models with attention."""


def module_of(benchmark: str) -> str:
    """The module of the library that scores a benchmark."""
    return f"subcell.benchmarks.tasks.{benchmark}"


def scored_models(task: Task, kinds: dict[str, str]) -> list[str]:
    """The models that a benchmark scores, of those given as name -> kind."""
    match task.models:
        case "none":
            return []
        case "networks":
            return [name for name, kind in kinds.items() if kind in NETWORKS]
        case "embedders":
            return [name for name, kind in kinds.items() if kind != "imported"]
        case _:
            return list(kinds)
