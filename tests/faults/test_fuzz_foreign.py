"""Damaged and crafted vectors and weights: each is used or refused in one line, whatever its bytes say."""

import json
import os
import random
import struct
import sys
from itertools import count
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from fuzz import damaged, fuzz

from subcell.apart import apart
from subcell.embedding.imported import import_cells
from subcell.model.network.encoder import build_encoder
from subcell.model.network.sizes import Size
from subcell.model.weights.checkpoint import load_encoder, save_checkpoint

# The process that all others are forked from does not know pytest's paths, and would leave every import to them.
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
SECONDS = 60

CELLS = 30
SIZE = Size(16, 2, 2, 8, 8, 8, 8, 8, 1, 2)


def import_file(path):
    apart(import_cells, path, f"{path}.out.h5ad", model="m", log=lambda line: None)
    assert np.isfinite(anndata.read_h5ad(f"{path}.out.h5ad").X).all()


def tables(folder):
    """h5ad files of the kinds that are taken: dense and sparse, with text, categories, probabilities and names."""
    obs = pd.DataFrame(
        {"gene": pd.Categorical([f"G{i // 5}" for i in range(CELLS)]), "dose": np.linspace(0, 1, CELLS), "note": "a"},
        index=[f"c{i}" for i in range(CELLS)],
    )
    values = np.random.default_rng(0).normal(size=(CELLS, 7)).astype(np.float32)
    for name, x in {"dense": values, "sparse": scipy.sparse.csr_matrix(values * (values > 0))}.items():
        table = anndata.AnnData(x, obs=obs, obsm={"probabilities": np.full((CELLS, 31), 0.5)})
        table.write_h5ad(folder / f"{name}.h5ad", compression="gzip" if name == "sparse" else None)
        yield name, (folder / f"{name}.h5ad").read_bytes()


def test_damaged_h5ad(tmp_path):
    originals = list(tables(tmp_path))

    def inputs():
        for number in count():
            name, content = originals[number % len(originals)]
            path = tmp_path / f"{name}_{number}.h5ad"
            path.write_bytes(damaged(content, random.Random(number)))
            yield path
            path.unlink()
            Path(f"{path}.out.h5ad").unlink(missing_ok=True)

    counts = fuzz(import_file, inputs(), budget_s=SECONDS, modules=["subcell.embedding.imported"])
    assert counts["refused"] > 0, counts


def load_file(path):
    load_encoder(path)


@pytest.fixture
def checkpoint(tmp_path):
    """Header and weights of a small network."""
    path = tmp_path / "c.safetensors"
    config = {"in_channels": 4, "image_px": 32, "positions": "sincos", "pooling": True, "um_per_px": 0.5}
    encoder = build_encoder(size=SIZE, image_px=32, positions="sincos", seed=0)
    save_checkpoint(path, encoder, {**config, "channels": ["microtubules", "er", "nucleus", "protein"]}, size=SIZE)
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return content[8 : 8 + length], content[8 + length :]


ODD = (
    -4,
    0,
    1,
    2**16,
    10**6,
    2**63,
    -(2**31),
    1e308,
    float("nan"),
    0.5,
    True,
    None,
    "",
    "wide",
    [],
    [[]],
    {},
    {"a": {}},
)


def crafted(rng, header):
    """The header with one or two values of it changed, as JSON or as bytes."""
    if rng.random() < 0.3:
        return damaged(header, rng)
    table = json.loads(header)
    config = json.loads(table["__metadata__"]["config"])
    weights = [value for name, value in table.items() if name != "__metadata__"]
    for _ in range(rng.choice((1, 2))):
        architecture = config.get("architecture")
        place = rng.choice((config, architecture if isinstance(architecture, dict) else config, rng.choice(weights)))
        key = rng.choice(sorted(place)) if place else "x"
        if rng.random() < 0.1:
            place.pop(key, None)
        else:
            place[key] = rng.choice(ODD)
    text = "[" * 100_000 if rng.random() < 0.05 else json.dumps(config)
    return json.dumps(table | {"__metadata__": {"config": text}}).encode()


def test_crafted_checkpoint_headers(tmp_path, checkpoint):
    header, weights = checkpoint

    def inputs():
        for number in count():
            new = crafted(random.Random(number), header)
            path = tmp_path / f"{number}.safetensors"
            path.write_bytes(struct.pack("<Q", len(new)) + new + weights)
            yield path
            path.unlink()

    counts = fuzz(load_file, inputs(), budget_s=SECONDS, modules=["subcell.model.weights.checkpoint"])
    assert counts["refused"] > 0, counts
