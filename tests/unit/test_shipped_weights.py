"""The tiny network that ships: what it is, and that neither demo nor tests hold out what it has seen."""

from pathlib import Path

import pytest
import yaml

from subcell.model.network.sizes import SIZES, Size
from subcell.model.weights.checkpoint import load_encoder, names_seen, read_description

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "resources/subcell_tiny.safetensors"


def test_it_is_the_tiny_network_that_its_configuration_describes() -> None:
    encoder, config = load_encoder(SHIPPED)
    asked = yaml.safe_load((ROOT / "config/pretrain.yaml").read_text())
    model = asked["models"]["subcell_tiny"]
    assert SHIPPED.stat().st_size < 10e6
    assert Size(**config["architecture"]) == SIZES["tiny"]
    assert (config["recipe"], config["scaling"], config["seed"]) == (model["recipe"], model["objective"]["scaling"], 42)
    for key, value in model["training"].items():
        assert config[key] == value, key
    assert config["image_px"] == asked["crops"]["pixels"]
    assert config["um_per_px"] == pytest.approx(asked["crops"]["field_um"] / asked["crops"]["pixels"])
    assert encoder.dim == 256


def test_no_other_configuration_simulates_its_worlds() -> None:
    seen = names_seen(read_description(SHIPPED))
    assert seen is not None
    worlds = {name.split("G")[0] for name in seen["gene"]}
    assert worlds == {"S101", "S102"}
    for path in [ROOT / "config.yaml", *(ROOT / "config").glob("*.yaml")]:
        datasets = (yaml.safe_load(path.read_text()) or {}).get("datasets", {})
        simulated = {name: block for name, block in datasets.items() if block.get("source") == "simulate"}
        seeds = {f"S{block.get('seed', 1)}" for block in simulated.values()}
        assert path.name == "pretrain.yaml" or not seeds & worlds, path
