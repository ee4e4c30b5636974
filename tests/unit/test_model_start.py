"""Trainings that start from a checkpoint, and networks whose tokens come from convolutions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_example import MICRO, run

from subcell.errors import CheckpointError, ConfigError
from subcell.model.loop.pretraining import Pretraining
from subcell.model.loop.start import start_from
from subcell.model.network.encoder import build_encoder
from subcell.model.network.inputs import Inputs
from subcell.model.objectives.recipes import recipe_named
from subcell.model.weights.checkpoint import load_encoder, names_seen, read_description

STEM = replace(MICRO, stem=(6, 8))


@pytest.fixture(scope="module")
def first(tmp_path_factory, crop_file):
    """A checkpoint trained for a few steps, scaled by channel, with a stem of convolutions."""
    folder = tmp_path_factory.mktemp("first")
    run(folder, crop_file, size=STEM, objective={"scaling": "channel"}, epochs=1)
    return folder / "checkpoint.safetensors"


def test_encoder_and_pooling_come_from_the_checkpoint_and_heads_do_not(first) -> None:
    recipe = recipe_named("mae-cells-prots-pool", {"scaling": "channel"})
    network = Pretraining(recipe=recipe, size=STEM, image_px=32, classes=2, seed=5)
    head = network.cell_head.layers[0].weight.clone()
    origin = start_from(network, first, size=STEM, um_per_px=51.2 / 32)
    started = network.encoder.state_dict()
    assert all(torch.equal(started[name], weight) for name, weight in load_file(first).items())
    assert torch.equal(network.cell_head.layers[0].weight, head)
    assert origin["recipe"] == "mae-cells-prots-pool"
    assert len(origin["sha256"]) == 64


def test_a_checkpoint_says_what_it_started_from_and_what_both_have_seen(tmp_path, crop_file, first) -> None:
    run(tmp_path, crop_file, size=STEM, objective={"scaling": "channel"}, epochs=1, start=first)
    config = load_encoder(tmp_path / "checkpoint.safetensors")[1]
    assert config["seen"]["gene"] == ["G0", "G1", "G2", "G3"]
    assert config["start"]["seen"]["antibody"] == ["HPA0", "HPA1", "HPA2", "HPA3"]
    assert load_encoder(first)[1].get("start") is None


def test_another_network_is_refused_with_what_differs(tmp_path, crop_file, first) -> None:
    with pytest.raises(CheckpointError, match="differs in size, scaling"):
        run(tmp_path, crop_file, size=MICRO, epochs=1, start=first)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        run(tmp_path, crop_file, size=STEM, epochs=1, start=tmp_path / "nowhere.safetensors")


def test_convolutions_see_nothing_of_hidden_patches() -> None:
    encoder = build_encoder(size=STEM, image_px=32, positions="sincos", seed=0).eval()
    image = torch.rand(2, 4, 32, 32)
    keep = torch.tensor([[0, 5], [3, 15]])
    other = torch.rand(2, 4, 32, 32)
    for cell, patches in enumerate(keep.tolist()):
        for patch in patches:
            rows, columns = slice(patch // 4 * 8, patch // 4 * 8 + 8), slice(patch % 4 * 8, patch % 4 * 8 + 8)
            other[cell, :, rows, columns] = image[cell, :, rows, columns]
    assert torch.equal(encoder(image, keep).vector, encoder(other, keep).vector)
    assert not torch.equal(encoder(image).vector, encoder(other).vector)


def test_a_stem_ends_at_a_patch() -> None:
    with pytest.raises(ConfigError, match="3 convolutions of stride 2 makes patches of 8 px, not 16"):
        replace(STEM, patch=16)


def test_channels_scaled_by_themselves_do_not_see_each_other() -> None:
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 200, (3, 6, 8, 8), dtype=np.uint8))
    crops[:, :2] = 1
    brighter = crops.clone()
    brighter[:, 3] = 255
    by_channel, joint = Inputs(scaling="channel"), Inputs()
    assert torch.equal(by_channel(crops)[:, 3], by_channel(brighter)[:, 3])
    assert not torch.equal(joint(crops)[:, 3], joint(brighter)[:, 3])
    assert torch.allclose(by_channel(crops).amax(dim=(2, 3)), torch.ones(3, 4), atol=1e-4)
    blank = crops.clone()
    blank[:, 3] = 0
    assert by_channel(blank)[:, 1].abs().max() == 0


def test_the_names_that_a_chain_of_trainings_has_seen_are_all_there(tmp_path, crop_file, first) -> None:
    run(tmp_path, crop_file, size=STEM, objective={"scaling": "channel"}, epochs=1, start=first)
    config = read_description(tmp_path / "checkpoint.safetensors")
    config["start"]["seen"]["gene"] = ["BEFORE"]
    assert names_seen(config) == {
        "antibody": {"HPA0", "HPA1", "HPA2", "HPA3"},
        "gene": {"BEFORE", "G0", "G1", "G2", "G3"},
    }
    del config["start"]["seen"]
    assert names_seen(config) is None
