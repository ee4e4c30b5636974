"""What a run will cost, stage by stage, from the constants in resources/costs.tsv and resources/training.tsv.

`python -m subcell.costs --config config/hpa-full.yaml --fields 80000` prints a table for a workstation and one for a
cluster, which stage binds, and what doubling each resource gains.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from subcell.config.check import resolve
from subcell.config.suite import CONTROLS, SUITE
from subcell.embedding.kinds import NETWORKS
from subcell.model.loop.plan import TRAINING_ANTIBODIES, count_training, describe_training, flops_per_s

CONSTANTS = Path(__file__).resolve().parents[3] / "resources" / "costs.tsv"
REFERENCE_PX = 448
"""Crops for which the constants hold."""
GPU, CORE = "H100 SXM", "x86-64 core"
"""Devices of resources/training.tsv that the hours are of."""
TRAINING_SHARE = 0.7
CLASSES = 31
HEAD_WEIGHTS = 1536 * 512 + 512 * 256 + 256 * CLASSES
"""Of the paper's classifier on frozen vectors."""


@dataclass(frozen=True)
class Machine:
    """What a run has."""

    name: str
    cores: int
    gpus: int
    connections: int


WORKSTATION = Machine("workstation", cores=16, gpus=1, connections=4)
CLUSTER = Machine("cluster", cores=1000, gpus=8, connections=4)


@dataclass(frozen=True)
class Stage:
    """One stage of the chain: jobs, hours of one core or one GPU, hours on the wire, terabytes that stay."""

    name: str
    jobs: int
    cpu_h: float = 0
    gpu_h: float = 0
    wire_h: float = 0
    tb: float = 0
    at_once: int = 10**9
    gpus_at_once: int = 10**9

    def taking(self, hours: float, gpus: int) -> Stage:
        """The stage with so many hours of a GPU, or of a core where there is none."""
        return replace(self, gpu_h=hours) if gpus else replace(self, cpu_h=hours)

    def hours(self, machine: Machine) -> float:
        """Wall-clock hours on a machine: what it waits for longest."""
        return max(
            self.cpu_h / min(machine.cores, self.at_once),
            self.gpu_h / max(1, min(machine.gpus, self.gpus_at_once)),
            self.wire_h / machine.connections,
        )


def read_constants(path: Path = CONSTANTS) -> dict[str, float]:
    """Name -> value; the file says the unit of each and where it was measured."""
    with path.open(encoding="utf-8") as file:
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        return {row["constant"]: float(row["value"]) for row in rows}


def stages_of(
    config: Mapping[str, Any],
    constants: Mapping[str, float],
    *,
    fields: int,
    gpus: int,
    training_h: Mapping[str, float],
) -> list[Stage]:
    """Stages of a run.

    Parameters
    ----------
    config : complete configuration
    constants : see `read_constants`
    fields : fields of view of all datasets together
    gpus : of the machine; without one, networks run on cores
    training_h : hours of one GPU, or of one core where there is none, that each training takes
    """
    c = constants
    shards = sum(dataset["shards"] for dataset in config["datasets"].values())
    cells = fields * c["cells"]
    scale = (config["crops"]["pixels"] / REFERENCE_PX) ** 2
    crop_tb = cells * c["crop_mb"] * scale / 1e6
    sizes = [size_of(model) for model in config["models"].values() if model["kind"] in NETWORKS]
    stages = [
        Stage("download", shards, wire_h=fields * 4 * c["request_s"] / 3600, tb=fields * 4 * c["image_mb"] / 1e6),
        Stage("segment", shards, cpu_h=fields * c["segment_cpu_s"] / 3600, tb=fields * c["masks_mb"] / 1e6),
        Stage("crop", shards, cpu_h=cells * c["crop_cpu_s"] / 3600, tb=crop_tb),
    ]

    def forward(stage: Stage, passes: float) -> Stage:
        """The stage with so many forward passes of a base network."""
        seconds = passes / c["embed_gpu_cells_per_s"] if gpus else passes * c["embed_cpu_s"]
        return stage.taking(seconds / 3600, gpus)

    for name, hours in training_h.items():
        stage = Stage(f"train {name}", 1, at_once=config["threads"], gpus_at_once=max(1, config["gpus"]))
        stages.append(stage.taking(hours, gpus))
    vectors_tb = len(config["models"]) * cells * c["vector_mb"] / 1e6
    embed = Stage("embed", shards * len(config["models"]), tb=vectors_tb)
    stages.append(forward(embed, cells * scale * sum(c[f"{size}_flops"] for size in sizes)))
    models = len(config["models"])
    stages.append(Stage("merge", models, cpu_h=models * cells * c["merge_cpu_s"] / 3600, at_once=models))
    stages.append(_score(config, c, cells=cells, gpus=gpus))
    maps = len(config["map"]["models"] or config["models"])
    stages.append(Stage("map", maps, cpu_h=maps * c["map_proteins"] * c["map_cpu_s"] / 3600, at_once=maps))
    return stages


def size_of(model: Mapping[str, Any]) -> str:
    """The size whose operations a network is counted with: released ones are `base`, and so are those of other projects."""
    return "base" if model.get("released") else model.get("size", "base")


def _score(config: Mapping[str, Any], c: Mapping[str, float], *, cells: float, gpus: int) -> Stage:
    """Classifiers on frozen vectors, which are nearly all of what benchmarks compute."""
    # `external` trains on one dataset for another, and there is one.
    tasks = [
        name for name, task in SUITE.items() if task.trains and name in config["benchmarks"] and name != "external"
    ]
    jobs = len(tasks) * len(config["models"])
    # Of images that are not simulated the classifiers of localization are trained as published too.
    published = len(config["models"]) * ("localization" in tasks)
    heads = (jobs + published) * config["scoring"]["head_seeds"] + len(tasks) * len(CONTROLS)
    flops = 6 * HEAD_WEIGHTS * heads * c["head_epochs"] * TRAINING_SHARE * cells
    seconds = flops / c["head_gpu_flops_per_s" if gpus else "head_cpu_flops_per_s"]
    stage = Stage("score", jobs + len(tasks), at_once=jobs + len(tasks), gpus_at_once=jobs + len(tasks))
    return stage.taking(seconds / 3600, gpus)


def describe(stages: Sequence[Stage], machine: Machine, constants: Mapping[str, float]) -> str:
    """The table for one machine, the stage that binds, and the gain of doubling each resource."""
    lines = [
        f"{machine.name}: {machine.cores} cores, {machine.gpus} GPU{'s' * (machine.gpus != 1)}, "
        f"{machine.connections} connections",
        f"{'stage':<28}{'jobs':>7}{'CPU h':>10}{'GPU h':>9}{'TB':>8}{'hours':>9}{'cost':>10}",
    ]
    for stage in stages:
        lines.append(
            f"{stage.name:<28}{stage.jobs:>7}{stage.cpu_h:>10.1f}{stage.gpu_h:>9.1f}{stage.tb:>8.2f}"
            f"{stage.hours(machine):>9.1f}{_cost(stage, constants):>10.0f}"
        )
    total = total_hours(stages, machine)
    lines.append(
        f"{'all':<28}{sum(s.jobs for s in stages):>7}{sum(s.cpu_h for s in stages):>10.1f}"
        f"{sum(s.gpu_h for s in stages):>9.1f}{sum(s.tb for s in stages):>8.2f}{total:>9.1f}"
        f"{sum(_cost(s, constants) for s in stages):>10.0f}"
    )
    binding = max(stages, key=lambda stage: stage.hours(machine))
    lines.append(f"What binds: {binding.name}, {binding.hours(machine) / total:.0%} of {total:.0f} hours.")
    for resource in ("cores", "gpus", "connections"):
        doubled = replace(machine, **{resource: 2 * max(1, getattr(machine, resource))})
        lines.append(f"Twice the {resource}: {total_hours(stages, doubled):.0f} hours instead of {total:.0f}.")
    return "\n".join(lines)


def total_hours(stages: Sequence[Stage], machine: Machine) -> float:
    """Hours of a run whose stages wait for each other; trainings wait for none of their kind, as far as GPUs and cores go."""
    trainings = [stage for stage in stages if stage.name.startswith("train ")]
    others = sum(stage.hours(machine) for stage in stages if stage not in trainings)
    shared = sum(stage.gpu_h for stage in trainings) / max(1, machine.gpus)
    shared = max(shared, sum(stage.cpu_h for stage in trainings) / machine.cores)
    return others + max([shared, *(stage.hours(machine) for stage in trainings)])


def _cost(stage: Stage, constants: Mapping[str, float]) -> float:
    prices = (("cpu_h", "eur_cpu_h"), ("gpu_h", "eur_gpu_h"), ("tb", "eur_tb_month"))
    return sum(getattr(stage, amount) * constants[price] for amount, price in prices)


def main() -> None:
    """Print the plan of a configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--fields", type=int, default=80_000, help="fields of view (the whole atlas: about 80,000)")
    given = parser.parse_args()
    config = resolve(yaml.safe_load(given.config.read_text(encoding="utf-8")), source=str(given.config))
    constants = read_constants()
    print(f"{given.config}, {given.fields:,} fields, about {given.fields * constants['cells']:,.0f} cells")
    print(f"Shards: {sum(d['shards'] for d in config['datasets'].values())}; about {max(1, given.fields // 256)} would "
          "hold 256 fields each.")  # fmt: skip
    print("Cost in EUR: a month of storage, and hours at the prices in resources/costs.tsv.\n")
    trained = {name: settings for name, settings in config["models"].items() if settings.get("train_on")}
    pixels, gpus = config["crops"]["pixels"], max(1, config["gpus"])
    counted = {
        name: count_training(settings, pixels=pixels, antibodies=TRAINING_ANTIBODIES)
        for name, settings in trained.items()
    }
    for machine in (WORKSTATION, replace(WORKSTATION, name="workstation without a GPU", gpus=0), CLUSTER):
        hours = {
            name: training.flops
            / flops_per_s(GPU if machine.gpus else CORE, trained[name]["training"]["precision"])
            / 3600
            for name, training in counted.items()
        }
        stages = stages_of(config, constants, fields=given.fields, gpus=machine.gpus, training_h=hours)
        print(describe(stages, machine, constants), end="\n\n")
    print(f"A training runs on `gpus` of the configuration, here {gpus}: with more it uses more of a machine's.")
    print("score: classifiers on frozen vectors alone. Not counted: the report, figures, and benchmarks on images.")
    print("Constants, and whether each is measured, published or assumed: resources/costs.tsv, resources/training.tsv")
    if counted:
        print("\nTrainings, counted on the networks themselves (docs/training.md):")
    for name, training in counted.items():
        print(describe_training(name, trained[name], training, gpus=gpus))


if __name__ == "__main__":
    main()
