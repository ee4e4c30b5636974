"""The plan of a run: known sums, and what binds."""

from pathlib import Path

import pytest
import yaml

from subcell.config import resolve
from subcell.costs import CLUSTER, WORKSTATION, Machine, Stage, describe, read_constants, stages_of, total_hours

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


def test_the_whole_atlas_in_numbers_that_follow_from_the_constants(config):
    constants = read_constants()
    stages = {stage.name: stage for stage in stages_of(config, constants, fields=80_000, gpus=1)}
    assert stages["segment"].jobs == config["datasets"]["hpa"]["shards"]
    assert stages["segment"].cpu_h == pytest.approx(80_000 * constants["segment_cpu_s"] / 3600)
    assert stages["crop"].tb == pytest.approx(80_000 * constants["cells"] * constants["crop_mb"] / 1e6)
    # 300 epochs of 10,433 antibodies, 4 items of 8 cells each, two views, forward and backward.
    assert stages["train vit_prots_pool"].gpu_h == pytest.approx(300 * 10_433 * 32 * 2 * 3 / 1000 / 3600)


def test_more_of_what_binds_helps_and_every_constant_has_a_source(config):
    constants = read_constants()
    stages = stages_of(config, constants, fields=80_000, gpus=1)
    assert total_hours(stages, CLUSTER) < total_hours(stages, WORKSTATION)
    text = describe(stages, WORKSTATION, constants)
    assert "What binds: train" in text
    assert "Twice the gpus" in text
    rows = [line.split("\t") for line in (ROOT / "resources/costs.tsv").read_text().splitlines() if line[0] != "#"]
    assert all(len(row) == 4 and row[3] for row in rows)
