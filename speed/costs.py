"""What one field and one cell cost on this machine at the size of the whole atlas: the measured rows of resources/costs.tsv,
and the row of a processor in resources/training.tsv.

Seconds are of CPU time, so that other work on the machine changes them little.

Usage: SUBCELL_SHARED=folder PYTHONPATH=workflow/scripts python speed/costs.py [cells to embed]
needs a folder data/hpa_fields with fields.csv and fields of 2048 px.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch

from subcell.atlas.map.map import Settings, build_map
from subcell.benchmarks.probes.mlp import HIDDEN, fit_mlps
from subcell.catalog.fields import as_fields
from subcell.crops.run import crop_fields
from subcell.crops.store import CropStore
from subcell.embedding.kinds import build_embedder
from subcell.embedding.run import merge_shards
from subcell.embedding.store import create_vectors
from subcell.model.loop.loop import CellLabels, TrainingLoop
from subcell.model.loop.plan import cost_of_step
from subcell.model.loop.pretraining import Pretraining
from subcell.model.network.sizes import SIZES
from subcell.model.objectives.recipes import RECIPES
from subcell.segmentation.run import segment_fields
from subcell.segmentation.segmenter import Segmenter
from subcell.sources.images import link_images

COLORS = {"nucleus": "blue", "microtubules": "red", "er": "yellow", "protein": "green"}


def say(constant: str, value: float, unit: str) -> None:
    print(f"{constant}\t{value:.4g}\t{unit}\tmeasured: speed/costs.py, one core of an x86-64 server", flush=True)


def megabytes(path: Path) -> float:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


def measure_training(store: CropStore, cells: int = 2) -> None:
    """Operations a second of a step of the base network, and of a matrix product."""
    network = Pretraining(
        recipe=RECIPES["mae-cells-prots-pool"], size=SIZES["base"], image_px=store.pixels, classes=2, seed=0
    )
    rows = np.arange(len(store))
    labels = CellLabels(store.obs.assign(antibody="a"), rows, classes=["a", "b"], positives="antibody")
    loop = TrainingLoop(network, labels=labels, cells_per_item=2, seed=0, device="cpu", precision="32")
    crops = torch.from_numpy(store.read(rows[:cells]))
    start = time.process_time()
    loop.step(0, torch.arange(cells), crops, learning_rate=1e-4)
    reached = cost_of_step(network, cells).step_flops / (time.process_time() - start)
    a, b = torch.randn(2, 2048, 2048)
    start = time.process_time()
    for _ in range(5):
        _ = a @ b
    say("matmul", 5 * 2 * 2048**3 / (time.process_time() - start), "FLOP/s, float32, one core (training.tsv)")
    say("training", reached, "FLOP/s of a step of the base network, float32, one core (training.tsv)")


def measure_merging(folder: Path, cells: int = 4000, shards: int = 8) -> None:
    """Joining shards of vectors, whose rows are wide."""
    random = np.random.default_rng(0)
    paths = []
    for shard in range(shards):
        obs = pd.DataFrame({"field_id": f"f{shard}", "gene": "G"}, index=[f"c{shard}_{n:05d}" for n in range(cells)])
        paths.append(folder / f"{shard}.h5ad")
        with create_vectors(paths[-1], obs, features=list(map(str, range(1536))), uns={"model": "base"}) as file:
            file.write("X", 0, random.normal(size=(cells, 1536)).astype(np.float32))
    start = time.process_time()
    merge_shards(paths, folder / "merged.h5ad")
    say("merge_cpu_s", (time.process_time() - start) / (cells * shards), "s a cell, 1,536 numbers")


def measure_heads(cells: int = 8192, seeds: int = 4, epochs: int = 2, classes: int = 31) -> None:
    """Operations a second of classifiers on vectors."""
    random = np.random.default_rng(0)
    features = random.normal(size=(cells, 1536)).astype(np.float32)
    train = np.arange(cells) % 8 > 0
    sides = {"train": train, "valid": ~train, "test": ~train}
    start = time.process_time()
    fit_mlps(features, random.random((cells, classes)) < 0.1, **sides, seeds=range(seeds), epochs=epochs)
    weights = 1536 * HIDDEN[0] + HIDDEN[0] * HIDDEN[1] + HIDDEN[1] * classes
    flops = 6 * weights * int(train.sum()) * seeds * epochs
    say("head_cpu_flops_per_s", flops / (time.process_time() - start), "FLOP/s of classifiers, one core")


def main() -> None:
    torch.set_num_threads(1)
    cells_to_embed = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    source = Path(os.environ["SUBCELL_SHARED"]) / "data/hpa_fields"
    sheet = pd.read_csv(source / "fields.csv")
    large = sheet[sheet["height"] >= 1700]
    rows = [
        {"field_id": row.field_id, "pixel_size_um": row.pixel_size_um}
        | {channel: str(source / f"{row.field_id}_{color}.png") for channel, color in COLORS.items()}
        for row in large.itertuples()
    ]
    fields = as_fields(pd.DataFrame(rows))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        link_images(fields, folder / "images")
        segmenter = Segmenter()
        start = time.process_time()
        quality = segment_fields(
            folder / "images", fields, segmenter, folder / "m.zarr", folder / "c.parquet", folder / "q.parquet"
        )
        say("segment_cpu_s", (time.process_time() - start) / len(fields), "s a field of 2048 px, compact network")
        say("cells", quality["cells"].mean(), "cells a field of 2048 px")
        say("masks_mb", megabytes(folder / "m.zarr") / len(fields), "MB a field of 2048 px")
        start = time.process_time()
        crop_fields(
            folder / "images",
            folder / "m.zarr",
            folder / "c.parquet",
            fields,
            folder / "c.h5sc",
            field_um=71.8,
            pixels=448,
        )
        store = CropStore(folder / "c.h5sc")
        say("crop_cpu_s", (time.process_time() - start) / len(store), "s a cell at 448 px")
        say("crop_mb", (folder / "c.h5sc").stat().st_size / 1e6 / len(store), "MB a cell at 448 px, uint8, lzf")
        settings = {"kind": "random_vit", "size": "base", "seed": 1, "precision": "32"}
        embedder = build_embedder("base", settings, crops=folder / "c.h5sc")
        images = store.read(np.arange(cells_to_embed) % len(store))
        embedder.embed(images[:1], store.obs.iloc[:1])
        start = time.process_time()
        embedder.embed(images, store.obs.iloc[np.arange(cells_to_embed) % len(store)])
        say("embed_cpu_s", (time.process_time() - start) / cells_to_embed, "s a cell, ViT-B/16 at 448 px, float32")
        measure_training(store)
        measure_merging(folder)
        measure_heads()
        proteins = 2000
        vectors = anndata.AnnData(
            np.random.default_rng(0).normal(size=(proteins, 1536)).astype(np.float32),
            obs=pd.DataFrame({"gene": [f"G{i}" for i in range(proteins)]}, index=[f"c{i}" for i in range(proteins)]),
        )
        vectors.obs["field_id"] = vectors.obs["antibody"] = vectors.obs["gene"]
        vectors.obs["locations"] = "Cytosol"
        vectors.write_h5ad(folder / "v.h5ad")
        start = time.process_time()
        build_map(folder / "v.h5ad", Settings(neighbors=100))
        say("map_cpu_s", (time.process_time() - start) / proteins, "s a protein, 2,000 proteins")


if __name__ == "__main__":
    main()
