"""What one field and one cell cost on this machine at the size of the whole atlas: the measured rows of resources/costs.tsv.

Seconds are of CPU time, so that other work on the machine changes them little.

Usage: SUBCELL_SHARED=folder PYTHONPATH=workflow/scripts python benchmarks/costs.py [cells to embed]
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

from subcell.atlas.map import build_map
from subcell.catalog.fields import as_fields
from subcell.crops.run import crop_fields
from subcell.crops.store import CropStore
from subcell.embedding.random_vit import random_vit
from subcell.segmentation.run import segment_fields
from subcell.segmentation.segmenter import Segmenter
from subcell.sources.images import link_images

COLORS = {"nucleus": "blue", "microtubules": "red", "er": "yellow", "protein": "green"}


def say(constant: str, value: float, unit: str) -> None:
    print(f"{constant}\t{value:.4g}\t{unit}\tmeasured: benchmarks/costs.py, one core of an x86-64 server", flush=True)


def megabytes(path: Path) -> float:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


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
        embedder = random_vit("base", size="base", seed=1, image_px=448)
        images = store.read(np.arange(cells_to_embed) % len(store))
        embedder.embed(images[:1], store.obs.iloc[:1])
        start = time.process_time()
        embedder.embed(images, store.obs.iloc[np.arange(cells_to_embed) % len(store)])
        say("embed_cpu_s", (time.process_time() - start) / cells_to_embed, "s a cell, ViT-B/16 at 448 px, float32")
        proteins = 2000
        vectors = anndata.AnnData(
            np.random.default_rng(0).normal(size=(proteins, 1536)).astype(np.float32),
            obs=pd.DataFrame({"gene": [f"G{i}" for i in range(proteins)]}, index=[f"c{i}" for i in range(proteins)]),
        )
        vectors.obs["field_id"] = vectors.obs["antibody"] = vectors.obs["gene"]
        vectors.obs["locations"] = "Cytosol"
        vectors.write_h5ad(folder / "v.h5ad")
        start = time.process_time()
        build_map(folder / "v.h5ad", out_h5ad=folder / "map.h5ad", out_tsv=folder / "clusters.tsv", neighbors=100)
        say("map_cpu_s", (time.process_time() - start) / proteins, "s a protein, 2,000 proteins")


if __name__ == "__main__":
    main()
