"""Files in exactly the format of SubCell's released weights, small and random."""

from pathlib import Path

import torch

NAMES = (Path(__file__).parents[1] / "data" / "transformers_4_45_1_vit.txt").read_text().split()
"""Names of all weights of transformers 4.45.1's ViTModel of 12 layers, as that version gives them."""

PATCH, WIDTH, HEADS, LAYERS, GATE, SIDE = 16, 128, 2, 2, 48, 28


def shape_of(name, channels):
    square, wide, long = (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)
    if name.endswith("cls_token"):
        return (1, 1, WIDTH)
    if name.endswith("position_embeddings"):
        return (1, 1 + SIDE**2, WIDTH)
    if name.endswith("projection.weight"):
        return (WIDTH, channels, PATCH, PATCH)
    if name.endswith("intermediate.dense.bias"):
        return (4 * WIDTH,)
    if name.endswith("bias") or "layernorm" in name:
        return (WIDTH,)
    if "intermediate" in name:
        return wide
    return long if name.endswith("output.dense.weight") and "attention" not in name else square


def checkpoint(channels, *, gate="1", seed=0):
    """A released checkpoint of few layers with random weights, under the names of transformers."""
    random = torch.Generator().manual_seed(seed)
    names = [name for name in NAMES if "layer." not in name or int(name.split("layer.")[1].split(".")[0]) < LAYERS]
    state = {}
    for name in names:
        state[f"encoder.{name}"] = torch.randn(shape_of(name, channels), generator=random) * 0.1
        if "layernorm" in name and name.endswith("weight"):
            state[f"encoder.{name}"] += 1
    for branch in ("v", "u"):
        state[f"pool_model.attention_{branch}.{gate}.weight"] = torch.randn((GATE, WIDTH), generator=random) * 0.1
        state[f"pool_model.attention_{branch}.{gate}.bias"] = torch.randn(GATE, generator=random) * 0.1
    state["pool_model.attention.weight"] = torch.randn((2, GATE), generator=random)
    state["pool_model.attention.bias"] = torch.randn(2, generator=random)
    return state


def head(seed, *, dim=24, classes=31):
    random = torch.Generator().manual_seed(seed)
    sizes = {"0": (512, dim), "3": (256, 512), "6": (classes, 256)}
    return {
        f"{layer}.{part}": torch.randn(size[:1] if part == "bias" else size, generator=random) * 0.2
        for layer, size in sizes.items()
        for part in ("weight", "bias")
    }


def saved(state, path):
    torch.save(state, path)
    return path
