"""The network against formulas written out, and checkpoints."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_example import MICRO as SHALLOW

from subcell.errors import CheckpointError, ConfigError
from subcell.model.network.decoder import Decoder
from subcell.model.network.encoder import build_encoder, sincos_positions
from subcell.model.network.pooling import GatedAttentionPooling
from subcell.model.network.sizes import SIZES
from subcell.model.objectives.heads import ProjectionHead
from subcell.model.weights.checkpoint import load_encoder, save_checkpoint

MICRO = replace(SHALLOW, depth=2)


def micro_encoder(**settings):
    return build_encoder(**{"size": MICRO, "image_px": 32, "seed": 0, **settings})


def test_base_has_the_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        encoder = build_encoder(size="base", image_px=448, seed=0)
    assert encoder.dim == 1536
    assert encoder.positions.shape == (1, 28 * 28 + 1, 768)
    block = 4 * 768 * 768 + 4 * 768 + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    first = 16 * 16 * 4 * 768 + 768 + 768 + 785 * 768
    pooling = 2 * (768 * 512 + 512) + 512 * 2 + 2
    parameters = sum(weight.numel() for weight in encoder.parameters())
    assert parameters == first + 12 * block + 2 * 768 + pooling
    assert parameters == pytest.approx(87.3e6, rel=1e-3)  # what the model card says
    head = ProjectionHead(encoder.dim, hidden_dim=SIZES["base"].projection_dim, out_dim=SIZES["base"].projected_dim)
    assert [layer.weight.shape for layer in head.layers if isinstance(layer, torch.nn.Linear)] == [
        (8192, 1536),
        (8192, 8192),
        (512, 8192),
    ]


def test_pooling_is_its_formula_over_all_tokens() -> None:
    torch.manual_seed(0)
    pooling = GatedAttentionPooling(6, gate_dim=5, heads=2).eval()
    tokens = torch.randn(3, 4, 6)
    vector, attention = pooling(tokens)
    v, u = pooling.attention_v[1], pooling.attention_u[1]
    for cell in range(3):
        scores = []
        for token in tokens[cell]:
            gate = v.weight @ token + v.bias
            other = u.weight @ token + u.bias
            gelu = 0.5 * other * (1 + torch.erf(other / math.sqrt(2)))
            scores.append(pooling.attention.weight @ (torch.tanh(gate) * gelu) + pooling.attention.bias)
        for head in range(2):
            weights = torch.exp(torch.stack(scores)[:, head])
            weights = weights / weights.sum()
            torch.testing.assert_close(attention[cell, head], weights)
            torch.testing.assert_close(vector[cell, head * 6 : head * 6 + 6], weights @ tokens[cell])


def test_the_encoder_gives_vector_tokens_and_attention() -> None:
    encoder = micro_encoder()
    encoded = encoder.eval()(torch.rand(3, 4, 32, 32))
    assert encoded.vector.shape == (3, 32)
    assert encoded.tokens.shape == (3, 17, 16)
    assert encoded.attention.shape == (3, 2, 17)
    torch.testing.assert_close(encoded.attention.sum(dim=-1), torch.ones(3, 2))
    normalised = encoded.tokens.mean(dim=-1)
    torch.testing.assert_close(normalised, torch.zeros_like(normalised), atol=1e-5, rtol=0)


def test_mean_pooling_has_no_attention() -> None:
    encoded = micro_encoder(pooling=False).eval()(torch.rand(2, 4, 32, 32))
    assert encoded.attention is None
    torch.testing.assert_close(encoded.vector, encoded.tokens.mean(dim=1))


def test_the_seed_decides_the_weights_and_nothing_else_changes() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = micro_encoder(), micro_encoder(), micro_encoder(seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one.state_dict()[name], weight) for name, weight in same.state_dict().items())
    assert not torch.equal(one.patch_embed.proj.weight, other.patch_embed.proj.weight)
    assert SIZES["base"].initial_std == pytest.approx(0.02)
    # As much signal in narrower layers: 0.02 * sqrt(768 / 16)
    assert float(one.blocks[0].attn.qkv.weight.detach().std()) == pytest.approx(0.1386 * 0.88, rel=0.15)
    assert one.norm.eps == 1e-12


def test_hidden_patches_are_not_looked_at() -> None:
    encoder = micro_encoder().eval()
    images = torch.rand(2, 4, 32, 32)
    keep = torch.tensor([[0, 5, 6], [1, 2, 15]])
    changed = images.clone()
    changed[0, :, 24:, :] = 0  # patches 12 to 15
    changed[1, :, :8, :8] = 0  # patch 0
    torch.testing.assert_close(encoder(images, keep).vector, encoder(changed, keep).vector)
    assert not torch.allclose(encoder(images).vector, encoder(changed).vector)
    assert encoder(images, keep).tokens.shape == (2, 4, 16)


def test_showing_all_patches_is_the_same_as_not_choosing() -> None:
    encoder = micro_encoder(positions="sincos").eval()
    images = torch.rand(2, 4, 32, 32)
    torch.testing.assert_close(encoder(images, torch.arange(16).expand(2, -1)).vector, encoder(images).vector)


@pytest.mark.parametrize("positions", ["learned", "sincos"])
def test_other_image_sizes_get_interpolated_positions(positions) -> None:
    encoder = micro_encoder(positions=positions).eval()
    assert encoder(torch.rand(1, 4, 48, 24)).tokens.shape == (1, 1 + 6 * 3, 16)
    larger = torch.nn.functional.interpolate(
        encoder.positions[:, 1:].reshape(1, 4, 4, 16).permute(0, 3, 1, 2), size=(6, 3), mode="bicubic"
    )
    found = encoder._positions(6, 3)
    torch.testing.assert_close(found[:, 1:], larger.permute(0, 2, 3, 1).reshape(1, 18, 16))
    torch.testing.assert_close(found[:, 0], encoder.positions[:, 0])


def test_fixed_positions_are_sines_and_cosines_and_are_not_learned() -> None:
    table = sincos_positions(3, 8)
    row, column = 1, 2
    expected = [math.sin(column), math.sin(column / 100), math.cos(column), math.cos(column / 100)]
    expected += [math.sin(row), math.sin(row / 100), math.cos(row), math.cos(row / 100)]
    assert table[row * 3 + column].tolist() == pytest.approx(expected, abs=1e-6)
    assert "positions" not in dict(micro_encoder(positions="sincos").named_parameters())
    assert "positions" in dict(micro_encoder(positions="learned").named_parameters())


def test_images_that_are_not_whole_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"multiple of 8"):
        micro_encoder(image_px=30)
    with pytest.raises(ConfigError, match=r"'huge' is unknown"):
        build_encoder(size="huge", image_px=96, seed=0)


def test_the_decoder_puts_tokens_back_where_they_were() -> None:
    torch.manual_seed(0)
    decoder = Decoder(size=MICRO, in_channels=4, side=4).eval()
    tokens = torch.randn(1, 4, 16)
    keep = torch.tensor([[3, 7, 9]])
    out = decoder(tokens, keep)
    assert out.shape == (1, 16, 8 * 8 * 4)
    # The same tokens in another order, with their places, are the same picture.
    shuffled = decoder(tokens[:, [0, 3, 1, 2]], torch.tensor([[9, 3, 7]]))
    torch.testing.assert_close(out, shuffled)
    assert not torch.allclose(out, decoder(tokens, torch.tensor([[3, 7, 10]])))


def test_projections_have_length_one() -> None:
    torch.manual_seed(0)
    projected = ProjectionHead(8, hidden_dim=16, out_dim=4)(torch.randn(6, 8))
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(6))


DESCRIPTION = {"in_channels": 4, "image_px": 32, "positions": "learned", "pooling": True, "recipe": "mine"}


def test_a_checkpoint_brings_back_the_same_network_and_its_description(tmp_path) -> None:
    encoder = micro_encoder(seed=3).eval()
    path = tmp_path / "new" / "checkpoint.safetensors"
    save_checkpoint(path, encoder, DESCRIPTION, size=MICRO)
    found, config = load_encoder(path)
    images = torch.rand(2, 4, 32, 32)
    assert torch.equal(found(images).vector, encoder(images).vector)
    assert config["recipe"] == "mine"
    assert config["architecture"]["width"] == 16
    assert not found.training
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.safetensors"]
    first = path.read_bytes()
    save_checkpoint(path, encoder, DESCRIPTION, size=MICRO)
    assert path.read_bytes() == first


def test_a_checkpoint_can_be_read_by_whoever_can_read_other_results(tmp_path) -> None:
    size = SIZES["tiny"]
    path, other = tmp_path / "a.safetensors", tmp_path / "other"
    save_checkpoint(path, build_encoder(size=size, image_px=32, seed=0), DESCRIPTION, size=size)
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_a_description_without_what_is_needed_is_not_written(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="lacks positions"):
        save_checkpoint(
            tmp_path / "c.safetensors",
            micro_encoder(),
            {key: value for key, value in DESCRIPTION.items() if key != "positions"},
            size=MICRO,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", r"1 weights are missing, such as 'norm.weight'"),
        ("surplus", r"1 weights are not of this network, such as 'extra'"),
        ("shape", r"1 weights have another shape, such as 'norm.weight': \(3,\) instead of \(16,\)"),
        ("no config", r"does not say which network"),
        ("other format", r"expected a file of format"),
        ("no network", r"describes no network"),
        ("truncated", r"not a whole safetensors file"),
        ("gone", r"no such checkpoint"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, damage: str, message: str) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, micro_encoder(), DESCRIPTION, size=MICRO)
    config = load_encoder(path)[1]
    weights = load_file(path)
    if damage == "missing":
        del weights["norm.weight"]
    elif damage == "surplus":
        weights["extra"] = torch.zeros(1)
    elif damage == "shape":
        weights["norm.weight"] = torch.zeros(3)
    elif damage == "other format":
        config["format"] = "something else"
    elif damage == "no network":
        config["architecture"]["width"] = "wide"
    save_file(weights, path, metadata=None if damage == "no config" else {"config": json.dumps(config)})
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "gone":
        path.unlink()
    with pytest.raises(CheckpointError, match=message):
        load_encoder(path)
