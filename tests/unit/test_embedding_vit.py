"""Networks as embedders: what they look at, and what they refuse."""

import hashlib
from functools import partial

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from subcell.channels import CHANNELS
from subcell.crops.store import CropStore, write_h5sc
from subcell.embedding.kinds import build_embedder
from subcell.embedding.run import embed_shard
from subcell.errors import CheckpointError, ConfigError
from subcell.model.network.encoder import build_encoder
from subcell.model.network.inputs import mask_and_scale
from subcell.model.network.sizes import size_named
from subcell.model.weights.checkpoint import load_encoder, save_checkpoint

SIDE = 96


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Crop file with five cells of noise; the last one is blank."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 6, SIDE, SIDE), dtype=np.uint8)
    images[:, :2] = 0
    images[:, 1, 20:70, 30:80] = 1
    images[:, 0, 40:50, 40:60] = 1
    images[4, 2:] = 0
    obs = pd.DataFrame({"field_id": "f", "channels": ";".join(CHANNELS)}, index=[f"f:{i}" for i in range(5)])
    path = tmp_path_factory.mktemp("crops") / "crops.h5sc"
    write_h5sc(path, obs, images, field_um=51.2)
    return path


@pytest.fixture(scope="module")
def network(crops):
    return build_embedder("random", {"kind": "random_vit", "size": "tiny", "seed": 1}, crops=crops, attention=True)


def test_vectors_and_attention(crops, network):
    store = CropStore(crops)
    found = network.embed(store.read(range(5)), store.obs)
    vectors, attention = found.vectors, found.more["attention"]
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, len(network.features))
    assert np.isfinite(vectors).all()
    assert attention.dtype == np.float16
    assert attention.shape == (5, 2, 6, 6)  # 96 px in patches of 16
    # The class token has the rest of the attention.
    assert ((attention.sum(axis=(2, 3)) > 0.5) & (attention.sum(axis=(2, 3)) < 1)).all()


def test_same_seed_same_network(crops, network):
    store = CropStore(crops)
    images = store.read([0])
    settings = {"kind": "random_vit", "size": "tiny"}
    again = build_embedder("random", settings | {"seed": 1}, crops=crops).embed(images, store.obs).vectors
    other = build_embedder("random", settings | {"seed": 2}, crops=crops).embed(images, store.obs).vectors
    expected = network.embed(images, store.obs).vectors
    np.testing.assert_array_equal(again, expected)
    assert np.abs(other - expected).max() > 1e-3


def test_only_the_cell_is_seen_and_its_scale_is_not(crops, network):
    store = CropStore(crops)
    images = store.read([0])
    expected = network.embed(images, store.obs).vectors
    outside = images.copy()
    outside[:, 2:] = np.where(images[:, 1:2] != 0, outside[:, 2:], 255)
    np.testing.assert_array_equal(network.embed(outside, store.obs).vectors, expected)
    deep = images.astype(np.uint16)
    deep[:, 2:] *= 257
    np.testing.assert_allclose(network.embed(deep, store.obs).vectors, expected, atol=1e-5)
    inside = images.copy()
    inside[:, 2:, 40:60, 40:60] = 0
    assert np.abs(network.embed(inside, store.obs).vectors - expected).max() > 1e-4


def test_a_cell_has_the_same_vector_in_any_batch(crops, network):
    store = CropStore(crops)
    together = network.embed(store.read(range(5)), store.obs).vectors
    alone = np.concatenate([network.embed(store.read([i]), store.obs).vectors for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_attention_is_kept_on_demand(crops, network, tmp_path):
    embed_shard(crops, network, tmp_path / "a.h5ad", batch_size=2, keep_attention=True)
    embed_shard(crops, network, tmp_path / "b.h5ad")
    with_maps, without = (anndata.read_h5ad(tmp_path / name) for name in ("a.h5ad", "b.h5ad"))
    assert with_maps.obsm["attention"].shape == (5, 2, 6, 6)
    assert "attention" not in without.obsm
    np.testing.assert_allclose(with_maps.X, without.X, atol=1e-5)
    assert with_maps.uns["kind"] == "random_vit"
    assert with_maps.uns["normalisation"].startswith("multiplied by the cell mask")


def test_crops_that_do_not_fit_the_patches(tmp_path):
    obs = pd.DataFrame({"field_id": ["f"], "channels": ["er"]}, index=["f:1"])
    write_h5sc(tmp_path / "odd.h5sc", obs, np.zeros((1, 6, 50, 50), np.uint8), field_um=51.2)
    with pytest.raises(ConfigError, match="50 px"):
        build_embedder("r", {"kind": "random_vit", "size": "tiny", "seed": 1}, crops=tmp_path / "odd.h5sc")


def test_a_trained_model_needs_a_checkpoint(crops):
    with pytest.raises(CheckpointError, match="model 'mae' has no checkpoint; train it first"):
        build_embedder("mae", {"kind": "subcell"}, crops=crops)


@pytest.fixture
def checkpoint(tmp_path):
    """Write an untrained network as if it had been trained."""

    def write(**config):
        size = size_named("tiny")
        encoder = build_encoder(size=size, image_px=SIDE, positions="sincos", seed=5)
        known = {"in_channels": 4, "image_px": SIDE, "positions": "sincos", "pooling": True, "um_per_px": 51.2 / SIDE}
        save_checkpoint(tmp_path / "model.safetensors", encoder, known | config, size=size)
        return tmp_path / "model.safetensors"

    return write


def test_a_checkpoint_embeds(crops, checkpoint, tmp_path):
    path = checkpoint(recipe="mae-cells-prots-pool", size="tiny")
    embed_shard(crops, build_embedder("mae", {"kind": "subcell"}, crops=crops, checkpoint=path), tmp_path / "a.h5ad")
    data = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert data.uns["checkpoint_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (data.uns["recipe"], data.uns["kind"], data.uns["model"]) == ("mae-cells-prots-pool", "subcell", "mae")
    encoder, _ = load_encoder(path)
    images = CropStore(crops).read([0]).astype(np.float32)
    with torch.inference_mode():
        expected = encoder(mask_and_scale(torch.from_numpy(images[:, 2:]), torch.from_numpy(images[:, 1]))).vector
    np.testing.assert_allclose(data.X[:1], expected.numpy(), atol=1e-5)


def test_a_network_trained_on_percentiles_sees_percentiles(crops, checkpoint, tmp_path):
    plain = build_embedder("mae", {"kind": "subcell"}, crops=crops, checkpoint=checkpoint())
    robust = build_embedder("mae", {"kind": "subcell"}, crops=crops, checkpoint=checkpoint(scaling="percentile"))
    store = CropStore(crops)
    images = store.read([0])
    images[0, 2:] //= 4
    images[0, 3, 40, 50] = 255
    encoder, _ = load_encoder(checkpoint())
    given = torch.from_numpy(images.astype(np.float32))
    with torch.inference_mode():
        expected = encoder(mask_and_scale(given[:, 2:], given[:, 1], scaling="percentile")).vector
    found = robust.embed(images, store.obs.iloc[:1]).vectors
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert np.abs(found - plain.embed(images, store.obs.iloc[:1]).vectors).max() > 1e-3
    assert "0.1 to 99.9 percentile" in robust.inputs[0].words


def test_channels_may_be_missing_only_where_training_left_some_out(crops, checkpoint):
    strict = build_embedder("mae", {"kind": "subcell"}, crops=crops, checkpoint=checkpoint())
    assert strict.requires == CHANNELS
    tolerant = checkpoint(dropped_channels=True)
    assert build_embedder("mae", {"kind": "subcell"}, crops=crops, checkpoint=tolerant).requires == ()


def test_another_scale_is_refused_another_side_is_not(crops, checkpoint, tmp_path):
    obs = CropStore(crops).obs.iloc[:1]
    large, coarse = tmp_path / "large.h5sc", tmp_path / "coarse.h5sc"
    write_h5sc(large, obs, np.ones((1, 6, 112, 112), np.uint8), field_um=112 * 51.2 / SIDE)
    write_h5sc(coarse, obs, np.ones((1, 6, SIDE, SIDE), np.uint8), field_um=102.4)
    build = partial(build_embedder, "mae", {"kind": "subcell"}, checkpoint=checkpoint())
    store = CropStore(large)
    found = build(crops=large, attention=True).embed(store.read([0]), store.obs)
    assert found.more["attention"].shape == (1, 2, 7, 7)
    with pytest.raises(
        CheckpointError, match=r"trained on crops of 96 px at 0\.533 um .* these have 96 px at 1\.067 um"
    ):
        build(crops=coarse)


def test_checkpoint_of_other_channels_is_refused(crops, checkpoint, tmp_path):
    encoder = build_encoder(size="tiny", in_channels=3, image_px=SIDE, seed=5)
    config = {"in_channels": 3, "image_px": SIDE, "positions": "learned", "pooling": True}
    save_checkpoint(tmp_path / "three.safetensors", encoder, config, size=size_named("tiny"))
    with pytest.raises(CheckpointError, match=r"takes 3 channels; expected 4"):
        build_embedder("mae", {"kind": "subcell"}, crops=crops, checkpoint=tmp_path / "three.safetensors")
