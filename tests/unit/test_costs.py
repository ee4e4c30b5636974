"""The plan of a run: known sums, and what binds."""

from pathlib import Path

import pytest
import yaml

from subcell.config.check import resolve
from subcell.costs import (
    CLUSTER,
    HEAD_WEIGHTS,
    WORKSTATION,
    Machine,
    Stage,
    describe,
    read_constants,
    stages_of,
    total_hours,
)
from subcell.model.loop.plan import count_training, describe_training, flops_per_s

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config():
    return resolve(yaml.safe_load((ROOT / "config/hpa-full.yaml").read_text()))


def test_a_stage_waits_for_what_it_has_least_of():
    machine = Machine("m", cores=10, gpus=2, connections=4)
    assert Stage("a", 1, cpu_h=20, gpu_h=2).hours(machine) == 2
    assert Stage("a", 1, cpu_h=20, gpu_h=8).hours(machine) == 4
    assert Stage("a", 1, cpu_h=20, at_once=1).hours(machine) == 20
    assert Stage("a", 1, wire_h=12).hours(machine) == 3


@pytest.fixture(scope="module")
def counted(config):
    """The atlas' trainings with a small network, whose count takes less time."""
    small = {name: {**settings, "size": "small"} for name, settings in config["models"].items() if "recipe" in settings}
    return {name: count_training(settings, pixels=448, antibodies=10_433) for name, settings in small.items()}


def stages_on(config, machine, hours):
    return stages_of(config, read_constants(), fields=80_000, gpus=machine.gpus, training_h=hours)


def test_the_whole_atlas_in_numbers_that_follow_from_the_constants(config):
    constants = read_constants()
    stages = {stage.name: stage for stage in stages_on(config, WORKSTATION, {"mae": 93.0})}
    assert stages["segment"].jobs == config["datasets"]["hpa"]["shards"]
    assert stages["segment"].cpu_h == pytest.approx(80_000 * constants["segment_cpu_s"] / 3600)
    assert stages["crop"].tb == pytest.approx(80_000 * constants["cells"] * constants["crop_mb"] / 1e6)
    assert {"merge", "score", "map"} <= set(stages)
    # Localization, cell line, and localization as published: ten of each of four models; of the first two four controls.
    heads = 3 * 4 * 10 + 2 * 4
    flops = 6 * HEAD_WEIGHTS * heads * constants["head_epochs"] * 0.7 * 80_000 * constants["cells"]
    assert stages["score"].gpu_h == pytest.approx(flops / constants["head_gpu_flops_per_s"] / 3600)


def test_a_training_has_one_number_of_operations_and_the_gpus_of_its_configuration(config, counted):
    """With eight GPUs in the cluster it has the one that its job asks for, and another training runs beside it."""
    hours = {name: training.flops / flops_per_s("H100 SXM", "bf16") / 3600 for name, training in counted.items()}
    stages = stages_on(config, CLUSTER, hours)
    trainings = [stage for stage in stages if stage.name.startswith("train")]
    assert [stage.hours(CLUSTER) for stage in trainings] == pytest.approx(list(hours.values()))
    others = sum(stage.hours(CLUSTER) for stage in stages if stage not in trainings)
    assert total_hours(stages, CLUSTER) == pytest.approx(others + max(hours.values()))
    said = describe_training("vit", config["models"]["vit_prots_pool"], counted["vit_prots_pool"], gpus=1)
    assert f"H100 SXM, bf16: {hours['vit_prots_pool']:,.0f} hours of one" in said
    on_four = stages_on({**config, "gpus": 4}, CLUSTER, hours)
    trainings = [stage for stage in on_four if stage.name.startswith("train")]
    assert [stage.hours(CLUSTER) for stage in trainings] == pytest.approx([value / 4 for value in hours.values()])


def test_a_network_that_is_not_trained_here_counts_with_the_size_it_has():
    def embedding(**models):
        config = resolve({"datasets": {"demo": {"source": "simulate"}}, "models": models})
        return {stage.name: stage for stage in stages_on(config, WORKSTATION, {})}["embed"].gpu_h

    released = embedding(subcell={"kind": "subcell", "released": "auto", "recipe": "mae-cells-prots-pool"})
    other = embedding(dino={"kind": "dino4cells", "checkpoint": "dino.pth"})
    assert released == other == embedding(vit={"kind": "random_vit", "size": "base"}) > 0
    assert embedding(classical={"kind": "handcrafted"}) == 0


def test_more_of_what_binds_helps_and_every_constant_has_a_source(config):
    constants = read_constants()
    stages = stages_on(config, WORKSTATION, {"mae": 93.0, "vit": 91.0})
    assert total_hours(stages, CLUSTER) < total_hours(stages, WORKSTATION)
    text = describe(stages, WORKSTATION, constants)
    assert "What binds: train" in text
    assert "Twice the gpus" in text
    for name, columns in (("costs.tsv", 4), ("training.tsv", 5)):
        lines = (ROOT / "resources" / name).read_text().splitlines()
        rows = [line.split("\t") for line in lines if line[0] != "#"][1:]
        kinds = ("measured", "assumed", "published", "computed")
        assert all(len(row) == columns and row[-1].startswith(kinds) for row in rows), name
