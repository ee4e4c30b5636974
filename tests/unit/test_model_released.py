"""Released checkpoints: files of exactly that format, against a forward pass written here from the formulas."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from released_example import HEADS, LAYERS, PATCH, SIDE, WIDTH, checkpoint, head, saved
from torch.nn import functional as F

from subcell.errors import CheckpointError
from subcell.model.weights.released import load_location_heads, load_released


def plain_forward(state, images):
    """The released network in plain PyTorch: vector, pooling's attention, class token's attention in the last layer."""
    e = {name.removeprefix("encoder."): value for name, value in state.items()}

    def linear(x, name):
        return x @ e[f"{name}.weight"].T + e[f"{name}.bias"]

    def norm(x, name):
        mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(var + 1e-12) * e[f"{name}.weight"] + e[f"{name}.bias"]

    def gelu(x):
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    n, _, height, width = images.shape
    x = F.conv2d(
        images,
        e["embeddings.patch_embeddings.projection.weight"],
        e["embeddings.patch_embeddings.projection.bias"],
        stride=PATCH,
    ).flatten(2)
    table = e["embeddings.position_embeddings"]
    grid = table[:, 1:].reshape(1, SIDE, SIDE, WIDTH).permute(0, 3, 1, 2)
    if (height, width) != (SIDE * PATCH, SIDE * PATCH):
        grid = F.interpolate(grid, size=(height // PATCH, width // PATCH), mode="bicubic", align_corners=False)
    grid = grid.permute(0, 2, 3, 1).reshape(1, -1, WIDTH)
    first = e["embeddings.cls_token"].expand(n, -1, -1) + table[:, :1]
    x = torch.cat((first, x.transpose(1, 2) + grid), dim=1)
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        y = norm(x, f"{at}.layernorm_before")
        parts = [linear(y, f"{at}.attention.attention.{part}") for part in ("query", "key", "value")]
        q, k, v = (part.reshape(n, -1, HEADS, WIDTH // HEADS).transpose(1, 2) for part in parts)
        attention = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS), dim=-1)
        x = x + linear((attention @ v).transpose(1, 2).reshape(n, -1, WIDTH), f"{at}.attention.output.dense")
        y = gelu(linear(norm(x, f"{at}.layernorm_after"), f"{at}.intermediate.dense"))
        x = x + linear(y, f"{at}.output.dense")
    x = norm(x, "layernorm")
    pool = {name.replace("pool_model.", "").replace(".0.", ".1."): value for name, value in state.items()}
    v = torch.tanh(x @ pool["attention_v.1.weight"].T + pool["attention_v.1.bias"])
    u = gelu(x @ pool["attention_u.1.weight"].T + pool["attention_u.1.bias"])
    weights = torch.softmax((v * u) @ pool["attention.weight"].T + pool["attention.bias"], dim=1)
    pooled = torch.stack([(weights[..., h, None] * x).sum(1) for h in range(2)], dim=1)
    return pooled.flatten(1), weights.transpose(1, 2), attention[:, :, 0]


@pytest.mark.parametrize(("channels", "pixels", "gate"), [(4, 448, "1"), (3, 448, "0"), (2, 640, "1"), (4, 640, "0")])
@torch.inference_mode()
def test_released_network_computes_what_its_formulas_say(tmp_path, channels, pixels, gate):
    state = checkpoint(channels, gate=gate)
    encoder, config = load_released(saved(state, tmp_path / "model.pth"))
    assert config == {"in_channels": channels, "image_px": 448, "positions": "learned", "pooling": True}
    images = torch.rand((1, channels, pixels, pixels), generator=torch.Generator().manual_seed(1))
    found = encoder(images, class_attention=True)
    vector, pooled, looks = plain_forward(state, images)
    assert found.vector.shape == (1, 2 * WIDTH)
    assert (found.vector - vector).abs().max() < 1e-5
    assert (found.attention - pooled).abs().max() < 1e-6
    assert (found.class_attention - looks).abs().max() < 1e-6
    assert (encoder(images).vector - vector).abs().max() < 1e-5


def test_fixed_positions_of_a_masked_autoencoder_are_known(tmp_path):
    # He et al.: half of the numbers for each axis, sines then cosines, the x axis first; nothing for the class token.
    state = checkpoint(4)
    frequency = 1 / 10_000 ** (np.arange(WIDTH // 4) / (WIDTH / 4))
    table = np.zeros((1, 1 + SIDE**2, WIDTH))
    for row in range(SIDE):
        for column in range(SIDE):
            angles = [axis * frequency for axis in (column, row)]
            table[0, 1 + row * SIDE + column] = np.concatenate([f(a) for a in angles for f in (np.sin, np.cos)])
    state["encoder.embeddings.position_embeddings"] = torch.from_numpy(table).float()
    encoder, config = load_released(saved(state, tmp_path / "mae.pth"))
    assert config["positions"] == "sincos"
    images = torch.rand((1, 4, 448, 448))
    with torch.inference_mode():
        assert (encoder(images).vector - plain_forward(state, images)[0]).abs().max() < 1e-5


def test_a_variant_without_pooling_takes_the_mean(tmp_path):
    state = {name: value for name, value in checkpoint(4).items() if name.startswith("encoder.")}
    encoder, config = load_released(saved({"state_dict": state}, tmp_path / "plain.pth"))
    assert not config["pooling"]
    assert encoder.dim == WIDTH


QUERY = "encoder.encoder.layer.1.attention.attention.query.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop(QUERY), r"missing, such as 'blocks\.1\.attn\.qkv\.bias'"),
        (lambda state: state.pop("encoder.layernorm.weight"), r"missing, such as 'norm\.weight'"),
        (lambda state: state.pop("encoder.embeddings.position_embeddings"), "lacks 'positions'"),
        (lambda state: state.update({"encoder.pooler.dense.weight": torch.zeros(2)}), "'encoder.pooler.dense.weight'"),
        (lambda state: state.update({"encoder.layernorm.bias": torch.zeros(7)}), r"'norm\.bias': \(7,\) instead of"),
        (lambda state: state.update(epoch=3), "something else"),
    ],
)
def test_every_weight_has_to_be_used_and_none_may_be_missing(tmp_path, change, message):
    state = checkpoint(4)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        load_released(saved(state, tmp_path / "model.pth"))


class Attack:
    def __reduce__(self):
        return (Path("attacked").touch, ())


def test_a_file_cannot_run_code_and_a_cut_one_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"evil\.pth: not a whole PyTorch file of plain weights"):
        load_released(saved({"encoder.x": Attack()}, tmp_path / "evil.pth"))
    assert not Path("attacked").exists()
    saved(checkpoint(4), tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"cut\.pth: not a whole PyTorch file"):
        load_released(tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match="fetch it first"):
        load_released(tmp_path / "none.pth")


@pytest.fixture
def heads(tmp_path):
    return [saved(head(seed), tmp_path / f"seed_{seed}.pth") for seed in range(10)]


def test_heads_give_a_sigmoid_a_class_and_seed(heads):
    vectors = torch.randn(5, 24, generator=torch.Generator().manual_seed(9))
    found = load_location_heads(heads)(vectors)
    assert found.shape == (10, 5, 31)
    for seed in (0, 7):
        state = head(seed)
        values = vectors
        for layer in ("0", "3"):
            values = torch.clamp(values @ state[f"{layer}.weight"].T + state[f"{layer}.bias"], min=0)
        expected = 1 / (1 + torch.exp(-(values @ state["6.weight"].T + state["6.bias"])))
        assert (found[seed] - expected).abs().max() < 1e-5


def test_heads_that_do_not_fit_are_named(heads, tmp_path):
    odd = saved(head(3, dim=20), tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd\.pth: its weights have other shapes"):
        load_location_heads([*heads, odd])
    with pytest.raises(CheckpointError, match=r"model\.pth: not a location classifier"):
        load_location_heads([saved(checkpoint(4), tmp_path / "model.pth")])
    with pytest.raises(CheckpointError, match="no location classifiers"):
        load_location_heads([])
