"""What a file of weights says of itself is compared with its weights before any network is built."""

import json
import zipfile
from dataclasses import replace

import pytest
import torch
from released_example import WIDTH, checkpoint, saved
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from training_example import MICRO

from subcell.embedding.timm_network import VisionTransformer, dino4cells
from subcell.errors import CheckpointError
from subcell.model.network.encoder import Encoder, build_encoder, encoder_shapes
from subcell.model.network.sizes import SIZES
from subcell.model.weights.checkpoint import load_encoder, save_checkpoint
from subcell.model.weights.released import load_released
from subcell.segmentation.network import CompactNet, load_networks, save_networks

DESCRIPTION = {"in_channels": 4, "image_px": 32, "positions": "learned", "pooling": True}


@pytest.fixture
def micro(tmp_path):
    """Checkpoint of a very small network."""
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, build_encoder(size=MICRO, image_px=32, seed=0), DESCRIPTION, size=MICRO)
    return path


@pytest.fixture
def nothing_is_built(monkeypatch):
    """A network that somebody begins to make fails the test, and would fill the memory."""

    def made(*arguments, **settings):
        raise AssertionError("a network was made")

    for network in (Encoder, VisionTransformer):
        monkeypatch.setattr(network, "__init__", made)


@pytest.mark.parametrize("pooling", [True, False])
@pytest.mark.parametrize("size", [SIZES["tiny"], replace(MICRO, patch=8, pool_heads=3)])
def test_expected_shapes_are_those_of_the_network(size, pooling):
    described = {"in_channels": 3, "image_px": 48, "pooling": pooling}
    network = build_encoder(size=size, **described, seed=0)
    assert encoder_shapes(size, **described) == {name: tuple(v.shape) for name, v in network.state_dict().items()}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("width", -4, "width is -4"),
        ("width", 65_536, "weights have another shape"),
        ("width", True, "width is True"),
        ("width", 1e308, "width is 1e.308"),
        ("patch", 0, "patch is 0"),
        ("depth", 10**6, "1,000,000 blocks, but .* weights"),
        ("depth", 2, "weights are missing"),
        ("heads", 3, "width 16 is no multiple of its 3 heads"),
        ("pool_dim", 2**40, "weights have another shape"),
        ("unheard_of", 1, "unheard_of"),
        ("architecture", [[]], "width is None"),
        ("in_channels", "four", "in_channels is 'four'"),
        ("image_px", 33, "cannot be cut into patches"),
        ("image_px", 2**30, "weights have another shape"),
        ("positions", "somewhere", "positions is 'somewhere'"),
        ("pooling", "no", "pooling is 'no'"),
        ("um_per_px", "wide", "um_per_px is 'wide'"),
        ("um_per_px", float("nan"), "um_per_px is nan"),
        ("channels", ["gold"], "channels is"),
        ("channels", 7, "channels is 7"),
    ],
)
def test_a_header_that_lies_is_refused(micro, nothing_is_built, place, value, message):
    with safe_open(micro, framework="pt") as file:
        config = json.loads(file.metadata()["config"])
    (config if place in {*config, "um_per_px", "channels"} else config["architecture"])[place] = value
    save_file(load_file(micro), micro, metadata={"config": json.dumps(config)})
    with pytest.raises(CheckpointError, match=message):
        load_encoder(micro)


def test_a_header_nested_without_end_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "c.safetensors", metadata={"config": "[" * 200_000})
    with pytest.raises(CheckpointError, match="does not say which network"):
        load_encoder(tmp_path / "c.safetensors")


def test_weights_that_are_no_fractions_are_refused(micro):
    with safe_open(micro, framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(micro)
    weights["norm.bias"] = weights["norm.bias"].long()
    save_file(weights, micro, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"'norm\.bias' are no fractions"):
        load_encoder(micro)


def deeper(state):
    state["encoder.encoder.layer.1000000.layernorm_before.bias"] = torch.zeros(WIDTH)


def wider(state):
    state["encoder.embeddings.patch_embeddings.projection.weight"] = torch.zeros(65_536, 1, 1, 1)


def halves(state):
    state["encoder.encoder.layer.0.attention.attention.key.weight"] = torch.zeros(3)


def no_patches(state):
    state["encoder.embeddings.position_embeddings"] = torch.zeros(1, 0, WIDTH)


def odd_width(state):
    state["encoder.embeddings.patch_embeddings.projection.weight"] = torch.zeros(200, 4, 16, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (deeper, "1,000,001 blocks, but"),
        (wider, "have another shape"),
        (halves, "missing, such as 'blocks.0.attn.qkv.weight'"),
        (no_patches, "not a released SubCell network"),
        (odd_width, "200 with 3 heads"),
    ],
)
def test_a_released_file_that_lies_is_refused(tmp_path, nothing_is_built, change, message):
    state = checkpoint(4)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        load_released(saved(state, tmp_path / "m.pth"))


def test_one_number_that_stands_for_many_is_refused(tmp_path, nothing_is_built):
    state = {name: torch.zeros(1).expand(value.shape) for name, value in checkpoint(4).items()}
    with pytest.raises(CheckpointError, match=r"its tensors claim .* bytes and have"):
        load_released(saved(state, tmp_path / "m.pth"))


def test_a_compressed_file_is_not_unpacked(tmp_path):
    saved(checkpoint(4), tmp_path / "m.pth")
    with zipfile.ZipFile(tmp_path / "m.pth") as stored, zipfile.ZipFile(tmp_path / "z.pth", "w") as packed:
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"z\.pth: .*its content is compressed"):
        load_released(tmp_path / "z.pth")


@pytest.mark.parametrize("blocks", [2, 10**6])
def test_a_file_of_dino4cells_that_lies_is_refused(tmp_path, nothing_is_built, blocks):
    weights = {"pos_embed": torch.zeros(1, 5, 65_536), "patch_embed.proj.weight": torch.zeros(65_536, 4, 1, 1)}
    weights |= {f"blocks.{blocks - 1}.norm1.bias": torch.zeros(65_536), "norm.weight": torch.zeros(65_536)}
    with pytest.raises(CheckpointError, match=r"weights are missing|holds no vision transformer"):
        dino4cells(saved({"teacher": weights}, tmp_path / "d.pth"), image_px=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"in_channels": -1}, "nuclei network does not fit its settings"),
        ({"in_channels": 1, "encoder_channels": [10**7] * 4}, "nuclei network does not fit its settings"),
        ({"in_channels": 1, "decoder_channels": [16] * 10**5}, "nuclei network does not fit its settings"),
        ({"in_channels": 1, "stem_width": 96}, "nuclei network does not fit its settings: .* weights, such as"),
        ({"in_channels": 1, "colour": 3}, "nuclei network does not fit its settings"),
        ([[]], "nuclei network does not fit its settings"),
    ],
)
def test_segmentation_weights_that_lie_are_refused(tmp_path, settings, message):
    path = tmp_path / "w.safetensors"
    save_networks(path, {"nuclei": CompactNet(1), "cells": CompactNet(3)})
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    described = json.loads(metadata["networks"]) | {"nuclei": settings}
    for text, expected in ((json.dumps(described), message), ("[" * 200_000, "does not say which networks")):
        save_file(load_file(path), path, metadata=metadata | {"networks": text})
        with pytest.raises(CheckpointError, match=expected):
            load_networks(path)
