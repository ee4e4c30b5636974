"""The whole configuration."""

import difflib
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from subcell.config.datasets import AnyDataset, Download, MakeSheet
from subcell.config.map import Map
from subcell.config.sections import (
    LONGEST_NAME,
    Attention,
    CheckReleased,
    Crate,
    Crops,
    FineTune,
    Model,
    Name,
    Neighbors,
    Network,
    OwnTask,
    Scoring,
    Section,
    Segmentation,
    SeveralSeeds,
    Subcell,
    TrainCompact,
    Weights,
)
from subcell.config.seeds import of_each_seed
from subcell.config.suite import CONTROLS, SUITE
from subcell.config.tasks import Tasks
from subcell.config.training import RELEASED_RECIPES

FOLDERS = (
    *("fields", "images", "masks", "cells", "qc", "crops", "truth", "benchmarks", "controls", "figures", "weights"),
)
"""Names of folders inside a dataset's results; no model may be called so."""


class Config(Section):
    """Everything that can be set."""

    datasets: dict[Name, AnyDataset] = Field(min_length=1, description="name: where its fields come from")
    download: Download = Field(Download(), description="how files are fetched from the web")
    segmentation: Segmentation = Field(Segmentation(), description="nuclei and cells")
    crops: Crops = Field(Crops(), description="one square a cell")
    models: dict[Name, Model] = Field(default={}, description="name: what turns a cell into a vector")
    map: Map = Field(Map(), description="clusters of proteins at rising resolutions")
    neighbors: Neighbors = Field(Neighbors(), description="the most similar proteins or cells")
    attention: Attention = Field(Attention(), description="where networks look")
    weights: Weights = Field(Weights(), description="released weights")
    crate: Crate = Field(Crate(), description="who stands behind a run")
    own_tasks: dict[Name, OwnTask] = Field(default={}, description="name: a benchmark of your own (docs/benchmarks.md)")
    benchmarks: list[Name] = Field(
        default=list(SUITE),
        description="what is scored: of `" + "`, `".join(SUITE) + "`, and names in `own_tasks`",
    )
    scoring: Scoring = Field(Scoring(), description="how it is scored")
    tasks: Tasks = Field(Tasks(), description="what single benchmarks need besides")
    threads: int = Field(
        1,
        ge=1,
        le=256,
        description="threads a job computes with, whatever `--cores` says: results depend on it in the last digits",
    )
    gpus: int = Field(
        0,
        ge=0,
        le=64,
        description="GPUs that a training asks a cluster for and runs on; the other networks ask for one each; "
        "0 asks for none, and takes one where there is one; on a machine without any, a training of several runs as so many "
        "processes",
    )
    keep_shards: bool = Field(
        True,
        description="keep images, masks and crops of shards; `false` deletes each when nothing in the run needs it any more, "
        "and a later run that does makes it again",
    )
    make_sheet: MakeSheet = Field(MakeSheet(), description="for the target of that name")
    check_released: CheckReleased = Field(CheckReleased(), description="for the target of that name")
    fine_tune: FineTune = Field(FineTune(), description="for the target of that name")
    train_compact: TrainCompact = Field(TrainCompact(), description="for the target of that name")
    pathvars: dict[Literal["results", "logs"], str] = Field(
        default={}, description="other folders than `results` and `logs`, e.g. to keep runs apart"
    )

    @model_validator(mode="before")
    @classmethod
    def _imported_vectors_are_models(cls, raw: Any) -> Any:
        """A dataset of vectors names the model that made them; that model embeds nothing else."""
        datasets = raw.get("datasets") if isinstance(raw, dict) else None
        if not isinstance(datasets, dict):
            return raw
        imported = {
            name: str(block.get("model", "imported"))
            for name, block in datasets.items()
            if isinstance(block, dict) and block.get("source") == "embeddings"
        }
        models = dict(raw.get("models") or {}) if isinstance(raw.get("models") or {}, dict) else None
        if not imported or models is None:
            return raw
        for model in dict.fromkeys(imported.values()):
            models.setdefault(
                model, {"kind": "imported", "evaluate_on": [name for name, made in imported.items() if made == model]}
            )
        return {**raw, "models": models}

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        problems = [f"datasets.{name}: `{name}` is a folder of the results; choose another name"
                    for name in self.datasets if name in ("models", "report", "cards")]  # fmt: skip
        known = self._models_with_those_of_each_seed(problems)
        for name, model in self.models.items():
            if name in FOLDERS:
                problems.append(f"models.{name}: `{name}` is a folder of the results; choose another name")
            if name in CONTROLS:
                problems.append(f"models.{name}: `{name}` is a control row of the benchmarks; choose another name")
            for key in ("train_on", "evaluate_on"):
                for dataset in getattr(model, key, None) or []:
                    if key == "train_on" and getattr(self.datasets.get(dataset), "source", "") == "embeddings":
                        problems.append(f"models.{name}.train_on: `{dataset}` has vectors, not images")
                    if dataset not in self.datasets:
                        problems.append(
                            f"models.{name}.{key}: no dataset `{dataset}`; there are: {', '.join(self.datasets)}"
                        )
            if isinstance(model, Subcell) and sum(map(bool, (model.train_on, model.checkpoint, model.released))) != 1:
                problems.append(
                    f"models.{name}: give either `train_on` (datasets to learn from), `checkpoint` (a file) or `released` "
                    "(a published network)"
                )
            if isinstance(model, Subcell) and model.start and not model.train_on:
                problems.append(
                    f"models.{name}.start: only a model with `train_on` starts from weights; to use them as they are, give "
                    "`checkpoint` instead"
                )
            if isinstance(model, Subcell) and model.released and model.recipe not in RELEASED_RECIPES:
                problems.append(
                    f"models.{name}.recipe: of {model.recipe} no network was published; {' and '.join(RELEASED_RECIPES)} were"
                )
            for dataset in model.evaluate_on or []:
                source = getattr(self.datasets.get(dataset), "source", None)
                if (source == "embeddings") != (model.kind == "imported") and source is not None:
                    problems.append(
                        f"models.{name}.evaluate_on: `{dataset}` "
                        + (
                            "has vectors, not images"
                            if source == "embeddings"
                            else "has images, not vectors of this model"
                        )
                    )
        for name, dataset in self.datasets.items():
            if dataset.split.by == "paper" and not dataset.split.lists:
                problems.append(f"datasets.{name}.split: `by: paper` needs `lists`, the folder of the antibody lists")
            if dataset.split.train + dataset.split.valid > 1:
                problems.append(f"datasets.{name}.split: train + valid is above 1")
        for key, wanted in (("map", self.map.datasets), ("attention", self.attention.datasets)):
            problems += [
                f"{key}.datasets: no dataset `{name}`; there are: {', '.join(self.datasets)}"
                for name in wanted or []
                if name not in self.datasets
            ]
        problems += [
            f"map.models: no model `{name}`; there are: {', '.join(known)}"
            for name in self.map.models or []
            if name not in known
        ]
        problems += [
            f"attention.models: `{name}` is no network of `models`"
            for name in self.attention.models or []
            if not isinstance(known.get(name), Network)
        ]
        if self.tasks.external.home and self.tasks.external.home not in self.datasets:
            problems.append(
                f"tasks.external.home: no dataset `{self.tasks.external.home}`; there are: {', '.join(self.datasets)}"
            )
        for name, test_set in self.scoring.test_sets.items():
            for key, other in (("", name), (".train_on", test_set.train_on)):
                if other and other not in self.datasets:
                    problems.append(
                        f"scoring.test_sets.{name}{key}: no dataset `{other}`; there are: {', '.join(self.datasets)}"
                    )
        for name, dataset in self.datasets.items():
            problems += _unknown(f"datasets.{name}.benchmarks", dataset.benchmarks or [], self.own_tasks)
        problems += [
            f"own_tasks.{name}: `{name}` is a benchmark of the workflow; choose another name"
            for name in self.own_tasks
            if name in SUITE
        ]
        if list(self.map.levels) != sorted(set(self.map.levels)):
            problems.append("map.levels: resolutions must rise")
        if self.map.ladder.highest <= self.map.ladder.lowest:
            problems.append("map.ladder: `highest` must be above `lowest`")
        sources = [entry.name for entry in self.map.gene_sets] + [entry.name for entry in self.map.interactions]
        problems += [f"map: two references are called {name!r}" for name in sources if sources.count(name) > 1][:1]
        if problems:
            raise PydanticCustomError("names", "{problems}", {"problems": "\n".join(problems)})
        return self

    def _models_with_those_of_each_seed(self, problems: list[str]) -> dict[str, Model]:
        """All names that a model can be meant by."""
        known = dict(self.models)
        for name, model in self.models.items():
            if not isinstance(model, SeveralSeeds) or model.seeds is None:
                continue
            if "seed" in model.model_fields_set:
                problems.append(f"models.{name}: give either `seed` or `seeds`, e.g. `seeds: [1]`")
            if isinstance(model, Subcell) and not model.train_on:
                problems.append(
                    f"models.{name}.seeds: a network from elsewhere has one set of weights; leave `seeds` out"
                )
            if len(set(model.seeds)) < len(model.seeds):
                problems.append(f"models.{name}.seeds: a seed stands there twice")
            for one in of_each_seed(name, model.seeds):
                if len(one) > LONGEST_NAME:
                    problems.append(
                        f"models.{name}: `{one}` is longer than {LONGEST_NAME} characters; choose a shorter name"
                    )
                if one in self.models:
                    problems.append(
                        f"models.{name}.seeds: there is a model `{one}` already; give one of them another name"
                    )
                known[one] = model
        return known

    @field_validator("benchmarks")
    @classmethod
    def _benchmarks_are_known(cls, names: list[str], info: ValidationInfo) -> list[str]:
        if problems := _unknown("benchmarks", names, info.data.get("own_tasks", {})):
            raise PydanticCustomError("names", "{problems}", {"problems": "\n".join(problems)})
        return names


def _unknown(where: str, names: Iterable[str], own_tasks: Iterable[str]) -> list[str]:
    """A line for each name of a list that is no benchmark."""
    known = [*SUITE, *own_tasks]
    lines = []
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(known)}"
            lines.append(f"{where}: there is no benchmark `{name}`; {hint}")
    return lines
