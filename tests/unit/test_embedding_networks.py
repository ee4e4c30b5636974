"""Networks of other kinds: files in their published layout, compared with forward passes written from their formulas."""

import argparse
import math

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from torch.nn import functional as F
from torchvision.models import Inception3

from subcell.channels import CHANNELS
from subcell.crops.store import CropStore, write_h5sc
from subcell.embedding.kinds import build_embedder
from subcell.embedding.run import embed_shard
from subcell.errors import CheckpointError, ConfigError

SIDE = 96
RED_GREEN_BLUE_YELLOW = [0, 3, 2, 1]
"""Places of microtubules, protein, nucleus and ER among our channels."""


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60_000, (3, 6, SIDE, SIDE), dtype=np.uint16)
    images[:, :2] = 0
    images[:, 1, 20:70, 30:80] = 1
    images[:, 0, 40:50, 40:60] = 1
    obs = pd.DataFrame(
        {"field_id": "f", "channels": ";".join(CHANNELS), "pixel_size_um": 0.08}, index=[f"f:{i}" for i in range(3)]
    )
    path = tmp_path_factory.mktemp("crops") / "crops.h5sc"
    write_h5sc(path, obs, images, field_um=SIDE * 0.0800885)
    return path


def embed(crops, settings, checkpoint=None, **more):
    store = CropStore(crops)
    embedder = build_embedder("m", settings, crops=crops, checkpoint=checkpoint, **more)
    return embedder, embedder.embed(store.read(range(len(store))), store.obs)


def joint(images, mask):
    x = torch.from_numpy((images * mask[:, None]).astype(np.float32))
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - low) / (high - low + 1e-6)


# DINO4Cells

WIDTH, HEADS, LAYERS, TRAINED = 128, 2, 2, 14


def dino_weights(seed=0):
    random = torch.Generator().manual_seed(seed)
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + TRAINED**2, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 4, 16, 16),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for i in range(LAYERS):
        for name, out, inner in (
            ("attn.qkv", 3 * WIDTH, WIDTH),
            ("attn.proj", WIDTH, WIDTH),
            ("mlp.fc1", 4 * WIDTH, WIDTH),
            ("mlp.fc2", WIDTH, 4 * WIDTH),
        ):
            shapes |= {f"blocks.{i}.{name}.weight": (out, inner), f"blocks.{i}.{name}.bias": (out,)}
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{name}.weight": (WIDTH,), f"blocks.{i}.{name}.bias": (WIDTH,)}
    return {name: torch.randn(shape, generator=random) * 0.1 for name, shape in shapes.items()}


def dino_forward(w, x):
    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    n, side = len(x), x.shape[-1] // 16
    x = F.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=16).flatten(2).transpose(1, 2)
    grid = w["pos_embed"][:, 1:].reshape(1, TRAINED, TRAINED, WIDTH).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=((side + 0.1) / TRAINED,) * 2, mode="bicubic")
    grid = grid.permute(0, 2, 3, 1).reshape(1, -1, WIDTH)
    x = torch.cat((w["cls_token"].expand(n, -1, -1), x), 1) + torch.cat((w["pos_embed"][:, :1], grid), 1)
    for i in range(LAYERS):
        q, k, v = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").reshape(n, -1, 3, HEADS, 64).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        attention = (q @ k.transpose(-1, -2) / math.sqrt(64)).softmax(-1)
        x = x + linear((attention @ v).transpose(1, 2).reshape(n, -1, WIDTH), f"blocks.{i}.attn.proj")
        y = F.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
        x = x + linear(y, f"blocks.{i}.mlp.fc2")
    return norm(x, "norm")[:, 0], attention[:, :, 0, 1:]


def test_dino4cells_computes_what_its_formulas_say(crops, tmp_path):
    weights = dino_weights()
    teacher = {f"module.backbone.{name}": value for name, value in weights.items()}
    teacher |= {"module.head.mlp.0.weight": torch.zeros(2, 2), "module.head.last_layer.weight_g": torch.zeros(2)}
    torch.save({"teacher": teacher, "args": argparse.Namespace(arch="vit_base"), "epoch": 3}, tmp_path / "dino.pth")
    embedder, found = embed(crops, {"kind": "dino4cells"}, tmp_path / "dino.pth", attention=True)
    images = CropStore(crops).read(range(3))
    x = joint(images[:, 2:], images[:, 1])[:, RED_GREEN_BLUE_YELLOW]
    mean = torch.tensor([0.1450534, 0.11360057, 0.1231717, 0.14919987])[:, None, None]
    std = torch.tensor([0.18122554, 0.14004277, 0.18840286, 0.17790672])[:, None, None]
    vector, looks = dino_forward(weights, (x - mean) / std)
    assert np.abs(found.vectors - vector.numpy()).max() < 1e-4
    assert np.abs(found.more["class_attention"] - looks.reshape(3, HEADS, 6, 6).numpy()).max() < 1e-3
    assert embedder.description["network_channels"] == "microtubules;protein;nucleus;er"
    assert embedder.requires == CHANNELS


def test_dino4cells_uses_every_weight(crops, tmp_path):
    def refused(change, message):
        teacher = dino_weights()
        change(teacher)
        torch.save({"teacher": teacher}, tmp_path / "dino.pth")
        with pytest.raises(CheckpointError, match=message):
            embed(crops, {"kind": "dino4cells"}, tmp_path / "dino.pth")

    refused(lambda t: t.pop("blocks.1.mlp.fc2.bias"), r"blocks\.1\.mlp\.fc2\.bias")
    refused(lambda t: t.update(surprise=torch.zeros(1)), "surprise")
    refused(lambda t: t.pop("pos_embed"), "holds no vision transformer")


# bestfitting


class Cbam(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Conv2d(2048, 64, 1), torch.nn.Conv2d(64, 2048, 1)
        self.conv_after_concat = torch.nn.Conv2d(2, 1, 3, padding=1)


class PlainBestfitting(torch.nn.Module):
    """The published network as torchvision's parts, under the published names."""

    def __init__(self):
        super().__init__()
        self.backbone = b = Inception3(init_weights=False)
        b.Conv2d_1a_3x3.conv = torch.nn.Conv2d(4, 32, 3, stride=2, bias=False)
        b.layer0 = torch.nn.Sequential(b.Conv2d_1a_3x3, b.Conv2d_2a_3x3, b.Conv2d_2b_3x3)
        b.layer1 = torch.nn.Sequential(b.Conv2d_3b_1x1, b.Conv2d_4a_3x3)
        b.layer2 = torch.nn.Sequential(b.Mixed_5b, b.Mixed_5c, b.Mixed_5d)
        b.layer3 = torch.nn.Sequential(b.Mixed_6a, b.Mixed_6b, b.Mixed_6c, b.Mixed_6d, b.Mixed_6e)
        b.layer4 = torch.nn.Sequential(b.Mixed_7a, b.Mixed_7b, b.Mixed_7c)
        self.att_module = Cbam()
        norm, linear = torch.nn.BatchNorm1d, torch.nn.Linear
        drop, relu = torch.nn.Dropout(0.5), torch.nn.ReLU()
        self.fc_layers = torch.nn.Sequential(norm(4096), drop, linear(4096, 2048), relu, norm(2048), drop)
        self.logit = linear(2048, 19)

    def forward(self, x):
        for layer in range(5):
            x = getattr(self.backbone, f"layer{layer}")(x)
        a = self.att_module
        channel = torch.sigmoid(
            a.fc2(F.relu(a.fc1(F.adaptive_avg_pool2d(x, 1)))) + a.fc2(F.relu(a.fc1(F.adaptive_max_pool2d(x, 1))))
        )
        x = x * channel
        x = x * torch.sigmoid(a.conv_after_concat(torch.cat((x.mean(1, True), x.max(1, True)[0]), 1)))
        pooled = torch.cat((F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)), 1).flatten(1)
        vector = self.fc_layers(pooled)
        return vector, torch.sigmoid(self.logit(vector))


def test_bestfitting_computes_what_its_parts_say(crops, tmp_path):
    torch.manual_seed(0)
    plain = PlainBestfitting().eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in plain.state_dict().items()}}, tmp_path / "ema.pth")
    embedder, found = embed(crops, {"kind": "bestfitting"}, tmp_path / "ema.pth")
    images = CropStore(crops).read(range(3))
    masked = torch.from_numpy((images[:, 2:] * images[:, 1:2]).astype(np.float32) / 65_535)
    # 20 px around the box of the cell, 20:70 and 30:80, as far as the crop reaches; then stretched.
    boxes = masked[:, RED_GREEN_BLUE_YELLOW, 0:90, 10:96]
    boxes = F.interpolate(boxes, size=(128, 128), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        vector, probabilities = plain(boxes)
    assert np.abs(found.vectors - vector.numpy()).max() < 1e-4
    assert np.abs(found.more["probabilities"] - probabilities.numpy()).max() < 1e-5
    assert len(embedder.description["location_classes"]) == 19
    weights = plain.state_dict()
    del weights["fc_layers.2.bias"]
    torch.save(weights, tmp_path / "short.pth")
    with pytest.raises(CheckpointError, match=r"fc_layers\.2\.bias"):
        embed(crops, {"kind": "bestfitting"}, tmp_path / "short.pth")


# timm


def test_any_network_of_timm(crops, tmp_path):
    settings = {"kind": "timm", "architecture": "vit_tiny_patch16_224", "seed": 3}
    _, found = embed(crops, settings, attention=True)
    assert found.vectors.shape == (3, 192)
    assert found.more["class_attention"].shape == (3, 3, 6, 6)
    _, again = embed(crops, settings)
    np.testing.assert_array_equal(found.vectors, again.vectors)
    _, each = embed(crops, settings | {"channels": "each"})
    assert each.vectors.shape == (3, 4 * 192)
    _, average = embed(crops, {"kind": "timm", "architecture": "resnet10t", "channels": "average", "image_px": 64})
    assert average.vectors.shape == (3, 512)

    model = timm.create_model("vit_tiny_patch16_224", in_chans=4, num_classes=5, img_size=SIDE)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    _, loaded = embed(crops, settings, tmp_path / "vit.pth")
    images = CropStore(crops).read(range(3))
    x = (joint(images[:, 2:], images[:, 1]) - 0.5) / 0.5
    with torch.inference_mode():
        expected = model.eval().forward_head(model.forward_features(x), pre_logits=True)
    assert np.abs(loaded.vectors - expected.numpy()).max() < 1e-4
    with pytest.raises(CheckpointError, match=r"vit\.pth: its weights do not fit"):
        embed(crops, settings | {"channels": "average"}, tmp_path / "vit.pth")
    with pytest.raises(ConfigError, match="timm has no network 'vit_tinny'"):
        embed(crops, settings | {"architecture": "vit_tinny"})


# Inputs, whatever the network


def random_vit(crops, **settings):
    return embed(crops, {"kind": "random_vit", "size": "tiny", "seed": 1} | settings)


def test_surroundings_are_seen_only_on_request(crops):
    store = CropStore(crops)
    images = store.read(range(3))
    outside = images.copy()
    outside[:, 2:] = np.where(images[:, 1:2] != 0, images[:, 2:], 7)
    for masked in (True, False):
        embedder, found = random_vit(crops, masked=masked)
        changed = np.abs(embedder.embed(outside, store.obs).vectors - found.vectors).max()
        assert (changed == 0) == masked
        assert embedder.description["masked"] == masked


def test_channels_are_scaled_together_unless_asked(crops):
    store = CropStore(crops)
    brighter = store.read(range(3))
    brighter[:, 5] //= 2
    for scaling in ("minmax", "channel"):
        embedder, found = random_vit(crops, scaling=scaling)
        changed = np.abs(embedder.embed(brighter, store.obs).vectors - found.vectors).max()
        assert (changed < 1e-3) == (scaling == "channel")
    embedder, _ = random_vit(crops, scaling="channel")
    blank = store.read(range(3))
    blank[0, 3] = 0
    blank[1, 2:] = 0
    assert np.isfinite(embedder.embed(blank, store.obs).vectors).all()


def test_a_channel_may_stand_in_for_another_and_proteins_take_turns(crops):
    plain, one = random_vit(crops)
    assert plain.description["channels_replaced"] == ""
    replaced, other = random_vit(crops, channel_map={"microtubules": "er"})
    assert replaced.description["channels_replaced"] == "microtubules=er"
    swapped = CropStore(crops).read(range(3))
    swapped[:, 2] = swapped[:, 3]
    np.testing.assert_array_equal(plain.embed(swapped, CropStore(crops).obs).vectors, other.vectors)
    several, both = random_vit(crops, proteins=["protein", "er"])
    assert several.description["channels_replaced"] == "protein=er"
    assert several.description["passes"] == 2
    np.testing.assert_allclose(both.vectors[:, : one.vectors.shape[1]], one.vectors, atol=1e-5)
    assert both.vectors.shape[1] == 2 * one.vectors.shape[1] == len(several.features)


def test_bfloat16_is_close(crops):
    _, exact = random_vit(crops)
    low, found = random_vit(crops, precision="bf16")
    assert low.description["precision"] == "bf16"
    cosine = (exact.vectors * found.vectors).sum(1) / np.linalg.norm(exact.vectors, axis=1)
    assert (cosine / np.linalg.norm(found.vectors, axis=1) > 0.999).all()


def test_reading_processes_change_nothing(crops, tmp_path):
    embedder, _ = random_vit(crops)
    for workers in (0, 2):
        embed_shard(crops, embedder, tmp_path / f"{workers}.h5ad", batch_size=2, workers=workers)
    assert (tmp_path / "0.h5ad").read_bytes() == (tmp_path / "2.h5ad").read_bytes()
