"""What measures an effect of the simulator moves with it, and only then, on the very layout in which it is planted."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_cells import score

from subcell.sources.simulate import design_fields, write_truth
from subcell.sources.simulate.compounds import edge_of

BENCHMARKS = Path(__file__).parents[2] / "speed"
CELLS = 4


def part_of_benchmark(name):
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def difficulty():
    return part_of_benchmark("simulator_difficulty")


def levels_of(effect, fields, truth):
    """What each field shows of an effect, as columns."""
    if effect == "plates":
        return pd.get_dummies(fields["plate"])
    if effect == "positions":
        return pd.get_dummies(fields["well"].map(edge_of))
    if effect == "compounds":
        return pd.get_dummies(fields["compound"].where(fields["control"] != "negative"))
    if effect == "expression":
        known = pd.read_parquet(truth / "expression.parquet")
        return (known - known.mean()).loc[fields["cell_line"]].reset_index(drop=True)
    complexes = pd.read_csv(truth / "complexes.tsv", sep="\t")
    return pd.get_dummies(fields["gene"].map(complexes.set_index("gene")["complex"]))


def measured(effect, difficulty, folder, *, shown):
    """The metric of an effect on vectors of noise, where its layout, with the effect in them or not."""
    planted = difficulty.PLANTED[effect]
    fields = design_fields("demo", **planted.world)
    write_truth(folder / "truth", **planted.world)
    obs = fields.loc[fields.index.repeat(CELLS)].reset_index(drop=True)
    obs.index = [f"cell{number}" for number in range(len(obs))]
    vectors = np.random.default_rng(1).normal(size=(len(obs), 24))
    if shown:
        levels = levels_of(effect, fields, folder / "truth").to_numpy(float)
        seen = levels @ np.random.default_rng(2).normal(size=(levels.shape[1], vectors.shape[1]))
        vectors += np.repeat(seen / seen.std(), CELLS, axis=0)
    found, written, _ = score(
        import_module(f"subcell.benchmarks.tasks.{planted.benchmark}"),
        folder,
        obs,
        vectors,
        truth=folder / "truth",
        min_test_antibodies=3,
    )
    assert planted.metric in found, written["reason"]
    return found[planted.metric]


@pytest.mark.parametrize("effect", ["expression", "compounds", "positions", "complexes", "sub_patterns", "plates"])
def test_what_measures_an_effect_is_above_chance_with_it_and_at_chance_without(effect, difficulty, tmp_path):
    with_it = measured(effect, difficulty, tmp_path / "on", shown=True)
    without = measured(effect, difficulty, tmp_path / "off", shown=False)
    # A plate's share has no chance of its own: without an effect it is 0.
    chance = without["chance"] or 0.0
    assert with_it["low"] > chance
    assert without["low"] <= chance <= without["high"]


def test_switching_an_effect_off_leaves_what_its_world_had_off_already(difficulty):
    off = {effect for effect, on in difficulty.switched_off("compounds")["effects"].items() if not on}
    assert off == {"positions", "compounds"}
    assert difficulty.switched_off("plates")["effects"] == {"plates": False}


def test_what_is_called_the_demo_is_the_demo(difficulty):
    assert design_fields("demo", **difficulty.DEMO).shape[0] == 218
    assert tuple(difficulty.DEMO["cells_per_field"]) == (14, 26)
    assert design_fields("demo_drugs", **difficulty.DRUGS).shape[0] == 75


def test_pictures_that_one_process_draws_differently_are_counted(tmp_path):
    simulator = part_of_benchmark("simulator")
    fields = design_fields("demo", **simulator.DEMO).iloc[:2]
    for number in range(2):
        simulator.simulate_fields(fields.iloc[number::2], tmp_path / str(number), **simulator.DEMO)
    drawn = simulator.hashes_of(tmp_path)
    files, different = simulator.different_files(fields, tmp_path / "same", drawn)
    assert files == len(drawn) > 0
    assert different == 0
    drawn[next(iter(drawn))] = "another"
    assert simulator.different_files(fields, tmp_path / "other", drawn)[1] == 1
