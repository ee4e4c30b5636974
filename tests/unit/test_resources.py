"""What jobs ask a cluster for: enough for the whole atlas, and no training that its attempts cannot finish."""

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from subcell.config.check import resolve
from subcell.config.suite import SUITE
from subcell.model.loop.plan import TRAINING_ANTIBODIES, count_training, flops_per_s
from subcell.model.loop.pretraining import Pretraining
from subcell.model.network.sizes import SIZES
from subcell.model.objectives.recipes import RECIPES

ROOT = Path(__file__).parents[2]
MODEL = SimpleNamespace(model="mae_cells_prots_pool")
DEMO = SimpleNamespace(model="subcell_pretrained")


def rules_of(name, **changes):
    """Functions and constants of workflow/rules/resource_inputs.smk for one of our configurations."""
    path = ROOT / name
    config = resolve(yaml.safe_load(path.read_text()) | changes, source=name)
    space = {
        "config": config,
        "COLLECTIONS": ("hpa", "subcell_crops"),
        "gpus_to_embed": lambda wildcards: min(1, config["gpus"]),
    }
    exec((ROOT / "workflow/rules/resource_inputs.smk").read_text(), space)
    return SimpleNamespace(**space)


@pytest.fixture(scope="module")
def atlas():
    return rules_of("config/hpa-full.yaml")


def test_the_atlas_trains_on_a_gpu_with_cpus_to_feed_it(atlas):
    assert atlas.config["gpus"] >= 1
    assert atlas.cpus_to_train(MODEL) == 8 * atlas.config["gpus"]
    assert rules_of("config/hpa-full.yaml", gpus=4).cpus_to_train(MODEL) == 32
    assert rules_of("config.yaml").cpus_to_train(DEMO) == 1


def test_memory_of_a_training_holds_the_batches_that_are_read_ahead(atlas):
    """A batch of the paper's is 896 cells of 6 x 448 x 448 bytes; seven processes hold two each."""
    batch_mb = 896 * 6 * 448**2 / 1e6
    assert atlas.memory_to_train(MODEL, 1) > 14 * batch_mb
    assert atlas.memory_to_train(MODEL, 2) == 2 * atlas.memory_to_train(MODEL, 1)
    assert rules_of("config.yaml").memory_to_train(DEMO, 1) < 5000
    assert (
        rules_of("config/images.yaml").crop_mb()
        == 2 * 6 * rules_of("config/images.yaml").config["crops"]["pixels"] ** 2 / 1e6
    )


def test_weights_are_reckoned_with(atlas):
    assert set(atlas.STATE_MB) == set(SIZES)
    for name, size in SIZES.items():
        with torch.device("meta"):
            network = Pretraining(recipe=RECIPES["mae-cells-prots-pool"], size=size, image_px=448, classes=35, seed=0)
        numbers = sum(weight.numel() for weight in network.parameters())
        assert atlas.STATE_MB[name] == pytest.approx(16 * numbers / 1e6, rel=0.05)


def test_memory_grows_with_what_is_held_and_with_attempts(atlas):
    vectors = SimpleNamespace(size_mb=7000)
    assert atlas.memory(4000)(None, 2) == 8000
    assert atlas.memory(4000, times=6)(None, vectors, 1) == 42_000
    assert atlas.memory(4000, times=6)(None, SimpleNamespace(size_mb=1), 2) == 8000
    assert atlas.minutes(120)(None, vectors, 1) == 820
    assert [atlas.minutes_anew(240)(None, attempt) for attempt in (1, 2, 3)] == [240, 480, 720]


def test_images_are_fetched_one_job_at_a_time_where_they_come_from_a_server(tmp_path):
    datasets = {"atlas": {"source": "hpa"}, "drawn": {"source": "simulate"}}
    for name, path in {"local": "a.tif", "web": "https://example.org/a.tif"}.items():
        (tmp_path / name).write_text(f"field_id,pixel_size_um,nucleus\nf,0.1,{path}\n")
        datasets[name] = {"source": "images", "sheet": str(tmp_path / name)}
    for settings in datasets.values():
        settings["file_pattern"] = None
    # A sheet that was moved after its fields were listed is no reason to plan nothing.
    datasets["pattern"] = {**datasets["local"], "file_pattern": "https://example.org/{field_id}_{color}.png"}
    datasets["moved"] = {**datasets["local"], "sheet": str(tmp_path / "moved")}
    rules = rules_of("config.yaml")
    rules.config["datasets"] = datasets
    asked = {name: rules.fetches(SimpleNamespace(dataset=name)) for name in datasets}
    assert asked == {"atlas": 1, "drawn": 0, "local": 0, "web": 1, "pattern": 1, "moved": 0}


def test_every_rule_that_fetches_asks_for_its_turn():
    rules = [text for path in (ROOT / "workflow/rules").glob("*.smk") for text in path.read_text().split("rule ")]
    drivers = [path for path in (ROOT / "workflow/scripts").glob("*.py") if 'config["download"]' in path.read_text()]
    fetching = {path.name for path in drivers} - {"plan_download.py"}
    assert {"fetch_images.py", "fetch_weights.py"} < fetching
    for name in fetching:
        asking = ["downloads=" in text for text in rules if f"/scripts/{name}" in text]
        assert asking == [True], name


def test_the_attempts_of_a_training_are_longer_than_it_is_planned_to_take(atlas):
    profile = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())
    hours = (1 + profile["retries"]) * atlas.minutes_to_train(MODEL) / 60
    trained = atlas.config["models"][MODEL.model]
    counted = count_training(trained, pixels=atlas.config["crops"]["pixels"], antibodies=TRAINING_ANTIBODIES)
    assert hours > counted.flops / flops_per_s("H100 SXM", trained["training"]["precision"]) / 3600 > 10


def test_benchmarks_that_train_say_so_where_the_workflow_is_parsed():
    for name, task in SUITE.items():
        assert getattr(import_module(f"subcell.benchmarks.tasks.{name}"), "TRAINS", False) == task.trains, name
