"""What a run will cost, stage by stage, from the constants in resources/costs.tsv.

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

from subcell.config import resolve

CONSTANTS = Path(__file__).resolve().parents[3] / "resources" / "costs.tsv"
REFERENCE_PX = 448
"""Crops for which the constants hold."""
TRAINING_ANTIBODIES = 10_433
"""SubCell's training list."""
NETWORKS = ("subcell", "random_vit")
VIEWS = 2


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

    def hours(self, machine: Machine) -> float:
        """Wall-clock hours on a machine: what it waits for longest."""
        return max(
            self.cpu_h / min(machine.cores, self.at_once),
            self.gpu_h / max(1, machine.gpus),
            self.wire_h / machine.connections,
        )


def read_constants(path: Path = CONSTANTS) -> dict[str, float]:
    """Name -> value; the file says the unit of each and where it was measured."""
    with path.open(encoding="utf-8") as file:
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        return {row["constant"]: float(row["value"]) for row in rows}


def stages_of(config: Mapping[str, Any], constants: Mapping[str, float], *, fields: int, gpus: int) -> list[Stage]:
    """Stages of a run.

    Parameters
    ----------
    config : complete configuration
    constants : see `read_constants`
    fields : fields of view of all datasets together
    gpus : of the machine; without one, networks run on cores
    """
    c = constants
    shards = sum(dataset["shards"] for dataset in config["datasets"].values())
    cells = fields * c["cells"]
    scale = (config["crops"]["pixels"] / REFERENCE_PX) ** 2
    crop_tb = cells * c["crop_mb"] * scale / 1e6
    sizes = [model["size"] for model in config["models"].values() if model["kind"] in NETWORKS]
    stages = [
        Stage("download", shards, wire_h=fields * 4 * c["request_s"] / 3600, tb=fields * 4 * c["image_mb"] / 1e6),
        Stage("segment", shards, cpu_h=fields * c["segment_cpu_s"] / 3600, tb=fields * c["masks_mb"] / 1e6),
        Stage("crop", shards, cpu_h=cells * c["crop_cpu_s"] / 3600, tb=crop_tb),
    ]

    def forward(stage: Stage, passes: float) -> Stage:
        """The stage with so many forward passes of a base network."""
        if gpus:
            return replace(stage, gpu_h=passes / c["embed_gpu_cells_per_s"] / 3600)
        return replace(stage, cpu_h=passes * c["embed_cpu_s"] / 3600)

    for name, model in config["models"].items():
        if model.get("train_on"):
            training = model["training"]
            seen = (
                training["epochs"] * TRAINING_ANTIBODIES * training["items_per_antibody"] * training["cells_per_item"]
            )
            passes = VIEWS * seen * c["train_forwards"] * scale * c[f"{model['size']}_flops"]
            stages.append(forward(Stage(f"train {name}", 1, at_once=config["threads"]), passes))
    vectors_tb = len(config["models"]) * cells * c["vector_mb"] / 1e6
    embed = Stage("embed", shards * len(config["models"]), tb=vectors_tb)
    stages.append(forward(embed, cells * scale * sum(c[f"{size}_flops"] for size in sizes)))
    maps = len(config["map"]["models"] or config["models"])
    stages.append(Stage("map", maps, cpu_h=maps * c["map_proteins"] * c["map_cpu_s"] / 3600, at_once=maps))
    return stages


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
    """Hours of a run whose stages wait for each other; trainings of several models share the GPUs."""
    return sum(stage.hours(machine) for stage in stages)


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
    for machine in (WORKSTATION, replace(WORKSTATION, name="workstation without a GPU", gpus=0), CLUSTER):
        stages = stages_of(config, constants, fields=given.fields, gpus=machine.gpus)
        print(describe(stages, machine, constants), end="\n\n")
    print(f"Constants and where they are from: {CONSTANTS.relative_to(CONSTANTS.parents[1])}")
    trained = {name: settings for name, settings in config["models"].items() if settings.get("train_on")}
    if trained:
        from subcell.model.plan import describe_training  # loads torch, which nothing above needs

        print("\nTrainings, counted on the networks themselves (docs/training.md):")
        for name, settings in trained.items():
            pixels, gpus = config["crops"]["pixels"], max(1, config["gpus"])
            print(describe_training(name, settings, pixels=pixels, antibodies=TRAINING_ANTIBODIES, gpus=gpus))


if __name__ == "__main__":
    main()
