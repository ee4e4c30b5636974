"""The configuration: every problem at once, suggestions, and generated files that are up to date."""

from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from subcell.config.check import resolve
from subcell.config.document import OUTPUTS, readme
from subcell.config.keys import check_keys_once
from subcell.config.model import Config
from subcell.errors import ConfigError
from subcell.sources.simulate import design_fields

ROOT = Path(__file__).parents[2]
DATASETS = {"demo": {"source": "simulate"}}


def problems(raw):
    with pytest.raises(ConfigError) as error:
        resolve(raw)
    return [line.removeprefix("  - ") for line in str(error.value).splitlines()[1:]]


@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))], ids=lambda p: p.name
)
def test_shipped_configurations_are_valid(path):
    resolve(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("name", ["bridge2ai", "jump-pilot", "opencell", "released"])
def test_a_released_network_is_never_scored_alone(name):
    config = resolve(yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()))
    scored_on = {
        settings["kind"]: set(settings["evaluate_on"] or config["datasets"]) for settings in config["models"].values()
    }
    beside = scored_on["random_vit"] & scored_on["handcrafted"] & scored_on["shortcuts"] & scored_on["subcell"]
    of_dataset = {dataset: config["datasets"][dataset]["benchmarks"] for dataset in beside}
    assert any(asked or asked is None for asked in of_dataset.values())


def test_the_full_demo_leaves_no_score_out():
    """Laid over the demo: every model on every dataset, and genes enough for what asks for second antibodies."""
    raw, more = (yaml.safe_load((ROOT / path).read_text()) for path in ("config.yaml", "config/full.yaml"))
    update_config(raw, more)
    config = resolve(raw)
    assert not any(settings["evaluate_on"] for settings in config["models"].values())
    worlds = {settings["genes"] for settings in config["datasets"].values() if settings["layout"] == "hpa"}
    assert len(worlds) == 1, "datasets of one seed and number of genes image the same genes"
    pairs = design_fields("demo", seed=config["datasets"]["demo"]["seed"], genes=worlds.pop())
    antibodies = pairs[pairs["split"] == "test"].groupby("gene")["antibody"].nunique()
    assert (antibodies > 1).sum() >= config["scoring"]["min_test_antibodies"]


def test_defaults_are_filled_in():
    config = resolve({"datasets": DATASETS})
    assert config["datasets"]["demo"]["split"]["by"] == "gene"
    assert config["scoring"]["head_seeds"] == 10
    assert resolve(config) == config, "a complete configuration is its own completion"


def test_all_problems_are_reported_together():
    found = problems(
        {
            "datasets": {"demo": {"source": "simulate", "cell_line": 8, "genes": "x"}, "own": {"source": "image"}},
            "segmentation": {"modle": "compact", "min_cell_um2": -2},
            "crops": {"field_um": 0},
            "benchmarks": ["localisation"],
            "mapp": {},
        }
    )
    assert found == [
        "benchmarks: there is no benchmark `localisation`; did you mean `localization`?",
        "crops.field_um: input should be greater than 1 (found 0)",
        "datasets.demo.cell_line: unknown key; did you mean `cell_lines`?",
        "datasets.demo.genes: input should be a valid integer, unable to parse string as an integer (found 'x')",
        "datasets.own.source: `image` is not one of 'simulate', 'images', 'hpa', 'subcell_crops', 'embeddings'; "
        "did you mean `images`?",
        "mapp: unknown key; did you mean `map`?",
        "segmentation.min_cell_um2: input should be greater than or equal to 0 (found -2)",
        "segmentation.modle: unknown key; did you mean `model`?",
    ]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"a": {"kind": "subcell", "train_on": ["dmeo"]}}, "models.a.train_on: no dataset `dmeo`; there are: demo"),
        (
            {"a": {"kind": "subcell"}},
            "models.a: give either `train_on` (datasets to learn from), `checkpoint` (a file) or `released`",
        ),
        ({"crops": {"kind": "handcrafted"}}, "models.crops: `crops` is a folder of the results; choose another name"),
        ({"a b": {"kind": "handcrafted"}}, "models.a b: string should match pattern"),
        ({"a": {}}, "models.a: needs the key `kind`"),
        ({"a": {"kind": "subcell", "train_on": ["demo"], "training": {"epoch": 3}}}, "did you mean `epochs`?"),
    ],
)
def test_models_must_fit_the_datasets(models, expected):
    assert expected in problems({"datasets": DATASETS, "models": models})[0]


@pytest.mark.parametrize("name", ["models", "report"])
def test_datasets_are_not_called_as_folders_of_the_results(name):
    found = problems({"datasets": {name: {"source": "simulate"}}})
    assert f"datasets.{name}: `{name}` is a folder of the results; choose another name" in found


def test_numbers_may_be_text_as_the_command_line_gives_them():
    config = resolve({"datasets": {"demo": {"source": "simulate", "shards": "3"}}, "crops": {"field_um": "1e2"}})
    assert config["datasets"]["demo"]["shards"] == 3
    assert config["crops"]["field_um"] == 100


def test_resolutions_must_rise():
    assert problems({"datasets": DATASETS, "map": {"levels": [1.0, 0.5]}}) == ["map.levels: resolutions must rise"]


def test_paper_split_needs_its_lists():
    assert "needs `lists`" in problems({"datasets": {"demo": {"source": "simulate", "split": {"by": "paper"}}}})[0]


@pytest.mark.parametrize("path", OUTPUTS)
def test_generated_files_are_up_to_date(path):
    assert (ROOT / path).read_text(encoding="utf-8") == OUTPUTS[path](), "run `make docs`"


def test_a_map_of_a_model_that_is_not_there():
    found = problems({"datasets": DATASETS, "models": {"a": {"kind": "handcrafted"}}, "map": {"models": ["a", "b"]}})
    assert found == ["map.models: no model `b`; there are: a"]


SEEDS = {"kind": "subcell", "train_on": ["demo"], "seeds": [3, 5]}


def test_a_model_with_seeds_is_one_model_a_seed():
    given = {"datasets": DATASETS, "models": {"a": SEEDS, "b": {"kind": "random_vit"}}}
    given |= {"map": {"models": ["a", "b"]}, "attention": {"models": ["a_5"]}, "scoring": {"reference": "a"}}
    found = resolve(given)
    assert list(found["models"]) == ["a_3", "a_5", "b"]
    one = {key: value for key, value in SEEDS.items() if key != "seeds"} | {"seed": 5}
    assert found["models"]["a_5"] == resolve({"datasets": DATASETS, "models": {"x": one}})["models"]["x"]
    assert found["map"]["models"] == ["a_3", "a_5", "b"]
    assert (found["attention"]["models"], found["scoring"]["reference"]) == (["a_5"], "a_3")
    assert resolve(found) == found


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"a": {**SEEDS, "seed": 1}}, "models.a: give either `seed` or `seeds`, e.g. `seeds: [1]`"),
        ({"a": {**SEEDS, "seeds": [3, 3]}}, "models.a.seeds: a seed stands there twice"),
        ({"a": SEEDS, "a_3": {"kind": "random_vit"}}, "models.a.seeds: there is a model `a_3` already"),
        ({"a": {**SEEDS, "seeds": []}}, "models.a.seeds: list should have at least 1 item"),
        ({"a" * 58 + "b": {**SEEDS, "seeds": [34]}}, "b_34` is longer than 60 characters; choose a shorter name"),
        (
            {"a": {"kind": "subcell", "checkpoint": "x.safetensors", "seeds": [1, 2]}},
            "models.a.seeds: a network from elsewhere has one set of weights",
        ),
        ({"a": {**SEEDS, "seeds": [-1]}}, "models.a.seeds.0: input should be greater than or equal to 0"),
        ({"a": {**SEEDS, "training": {"epoch": 3}}}, "models.a.training.epoch: unknown key; did you mean `epochs`?"),
    ],
)
def test_what_is_wrong_with_seeds_is_said_once(models, expected):
    (line,) = problems({"datasets": DATASETS, "models": models})
    assert expected in line


def test_every_key_of_every_block_is_documented():
    text = readme()
    for name, block in Config.model_json_schema()["$defs"].items():
        for key, about in block.get("properties", {}).items():
            assert f"| `{key}` |" in text, (name, key)
            assert about.get("description", "") in text.replace("\\|", "|"), (name, key)


@pytest.mark.parametrize(
    "title", ["tasks.interactions.pairs[]", "own_tasks.NAME", "scoring.test_sets.NAME", "models.NAME with `kind: timm`"]
)
def test_blocks_inside_others_have_a_table(title):
    assert f"\n## {title}\n" in readme()


def test_keys_that_yaml_takes_for_something_else_want_quotes():
    (line,) = problems({"datasets": DATASETS, "make_sheet": {"channels": {1: "nucleus"}}})
    assert line == "make_sheet.channels.1: YAML takes this key for a number, and text is expected; put it in quotes"
    (line,) = problems({"datasets": DATASETS, "make_sheet": {"folder": True}})
    assert line == "make_sheet.folder: YAML takes `True` for yes or no, and text is expected; put it in quotes"


def test_a_key_that_stands_twice_is_refused_with_its_lines(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "datasets:\n  a: {source: simulate}\nmap: {seeds: 2, seeds: 3}\ndatasets:\n  b: {source: simulate}\n"
    )
    with pytest.raises(ConfigError) as error:
        check_keys_once([path])
    assert str(error.value).splitlines()[1:] == [
        f"  - {path}: `map.seeds` in lines 3 and 3",
        f"  - {path}: `datasets` in lines 1 and 4",
    ]
    path.write_text("a: &a {b: 1}\nc: {<<: *a, b: 2}\nd: [{b: 1}, {b: 1}]\n'1': 1\n1: 1\ne: &e [*e]\n")
    check_keys_once([path])


@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))], ids=lambda p: p.name
)
def test_shipped_configurations_give_every_key_once(path):
    check_keys_once([path])
