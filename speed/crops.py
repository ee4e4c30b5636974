"""Cutting crops against scPortrait 1.8 on the same fields and masks, and reading them against a raw memory map.

Usage: SUBCELL_SHARED=folder PYTHONPATH=workflow/scripts python speed/crops.py [fields] [side in pixels]

scPortrait is installed into an environment of its own under .cache/benchmarks (another one: SCPORTRAIT_PYTHON=its python).
It cuts at the field's own pixels and leaves out cells whose square would leave the field, so ours cuts at the same scale,
and each side's rate is of the cells that it wrote. What is timed: ours, from images and masks on disk to the file;
scPortrait, its `Project.extract` alone, without loading images and masks into the project.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from segmentation import COLOURS, full_size_fields

from subcell.catalog.fields import as_fields
from subcell.crops.reader import shuffled_crops
from subcell.crops.run import crop_fields
from subcell.crops.store import PLANES, CropStore, write_h5sc
from subcell.imaging.ledger import ledger_table, write_ledger
from subcell.segmentation.masks import open_masks
from subcell.segmentation.run import segment_fields
from subcell.segmentation.segmenter import Segmenter

SCPORTRAIT = "scportrait==1.8.0"
READ_CELLS, READ_PX, BATCH = 4096, 96, 256

PEER = """
import json, os, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np
from scportrait.io import read_h5sc
from scportrait.pipeline.extraction import HDF5CellExtraction
from scportrait.pipeline.project import Project

def main():
    folder, side, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    seconds, cells, size = 0.0, 0, 0
    for name in sorted(os.listdir(folder)):
        data = np.load(os.path.join(folder, name))
        config = {"HDF5CellExtraction": {"threads": threads, "image_size": side, "cache": folder + "-cache", "compression": True}}
        os.makedirs(folder + "-cache", exist_ok=True)
        os.makedirs(folder + "-" + name + str(threads), exist_ok=True)
        project = Project(folder + "-" + name + str(threads), config_path=config, extraction_f=HDF5CellExtraction, overwrite=True)
        project.load_input_from_array(data["image"], channel_names=["a", "b", "c", "d"])
        project.filehandler._write_segmentation_sdata(data["nuclei"].astype("uint32"), "seg_all_nucleus")
        project.filehandler._write_segmentation_sdata(data["cells"].astype("uint32"), "seg_all_cytosol")
        start = time.perf_counter()
        project.extract()
        seconds += time.perf_counter() - start
        path = project.extraction_f.output_path
        cells += read_h5sc(path).n_obs
        size += os.path.getsize(path)
    print("RESULT" + json.dumps({"seconds": seconds, "cells": cells, "bytes": size}))

if __name__ == "__main__":
    main()
"""

READS_OURS = """
import sys
import anndata, numpy as np
from scportrait.io import read_h5sc
table = anndata.read_h5ad(sys.argv[1], backed="r")
cells = read_h5sc(sys.argv[1])
images = cells.obsm["single_cell_images"]
assert images.shape[:2] == (cells.n_obs, 6) and table.n_obs == cells.n_obs and images[0].any()
assert list(cells.var["channels"])[:2] == ["nucleus_mask", "cell_mask"]
print("opened", cells.n_obs)
"""


def peer_python() -> str:
    """Python of an environment that has scPortrait, made when it is not there."""
    if given := os.environ.get("SCPORTRAIT_PYTHON"):
        return given
    folder = Path(".cache/benchmarks/scportrait").resolve()
    python = folder / "bin" / "python"
    if not python.is_file():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "-q", "--python", "3.11", str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(python), SCPORTRAIT], check=True)
    return str(python)


def segmented_shard(folder: Path, count: int | None) -> pd.DataFrame:
    """The full-size fields with masks, as a shard and as arrays for the peer."""
    fields = full_size_fields()[:count]
    rows = []
    source = Path(os.environ["SUBCELL_SHARED"]) / "data" / "hpa_fields"
    for field_id, _, _ in fields:
        for channel, colour in COLOURS.items():
            name = f"{field_id}_{colour}.png"
            (folder / name).symlink_to((source / name).resolve())
            rows.append({"field_id": field_id, "channel": channel, "file": name, "status": "ok"})
    write_ledger(folder, ledger_table(rows))
    table = as_fields(pd.DataFrame([{"field_id": name, "pixel_size_um": um} for name, _, um in fields]))
    segment_fields(folder, table, Segmenter(), *(folder / name for name in ("m.zarr", "c.parquet", "q.parquet")))
    masks = open_masks(folder / "m.zarr")
    (folder / "arrays").mkdir()
    for field_id, image, _ in fields:
        nuclei, cells = masks.labels(field_id)
        np.savez(folder / "arrays" / f"{field_id}.npz", image=image.astype(np.uint16), nuclei=nuclei, cells=cells)
    return table


def cutting(count: int | None, side: int) -> None:
    python = peer_python()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = segmented_shard(folder, count)
        paths = [folder / part for part in ("", "m.zarr", "c.parquet")]
        # The scale of most of the fields; the cut of all is `side` pixels wide.
        settings = {"field_um": side * float(table["pixel_size_um"].iloc[0]), "pixels": side}
        crop_fields(*paths, table.iloc[:1], folder / "warm.h5sc", **settings)
        start = time.perf_counter()
        crop_fields(*paths, table, folder / "ours.h5sc", **settings)
        seconds = time.perf_counter() - start
        cells = len(CropStore(folder / "ours.h5sc"))
        size = (folder / "ours.h5sc").stat().st_size
        for threads in (1, 2):
            done = subprocess.run(
                [python, "-c", PEER, str(folder / "arrays"), str(side), str(threads)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(f"scPortrait failed:\n{done.stderr[-2000:]}")
            peer = json.loads(done.stdout.partition("RESULT")[2])
            ours, theirs = cells / seconds, peer["cells"] / peer["seconds"]
            case = f"crops of {side} px ({cells} cells; scPortrait wrote {peer['cells']}), scPortrait with {threads} process(es)"
            print(f"{case}\t{ours:.1f}\t{theirs:.1f}\tcells/s\t{ours / theirs:.2f}", flush=True)
        per_cell = size / cells / 1000, peer["bytes"] / peer["cells"] / 1000
        print(
            f"file size, all six planes\t{per_cell[0]:.0f}\t{per_cell[1]:.0f}\tkB/cell\t{per_cell[1] / per_cell[0]:.2f}"
        )
        opened = subprocess.run(
            [python, "-c", READS_OURS, str(folder / "ours.h5sc")], capture_output=True, text=True, check=False
        )
        verdict = opened.stdout.strip() or opened.stderr[-500:]
        print(f"# our file in anndata.read_h5ad and scportrait.io.read_h5sc: {verdict}")


def reading() -> None:
    """Random batches of every cell once, against the same rows of a raw memory map."""
    rng = np.random.default_rng(0)
    shape = (len(PLANES), READ_PX, READ_PX)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        smooth = rng.integers(0, 60, (READ_CELLS // 4, *shape), dtype=np.uint8)  # about as compressible as real crops
        raw = np.memmap(folder / "raw", np.uint8, "w+", shape=(READ_CELLS, *shape))
        for shard in range(4):
            pixels = np.roll(smooth, shard, axis=0)
            pixels[:, :2] = pixels[:, :2] > 30
            rows = slice(shard * len(smooth), (shard + 1) * len(smooth))
            raw[rows] = pixels
            obs = pd.DataFrame(index=pd.Index([f"{shard}:{n}" for n in range(len(smooth))], name="cell_id"))
            write_h5sc(folder / f"{shard}.h5sc", obs, pixels, field_um=51.2)
        store = CropStore(sorted(folder.glob("*.h5sc")))
        order = rng.permutation(READ_CELLS).reshape(-1, BATCH)
        start = time.perf_counter()
        total = sum(int(torch.from_numpy(raw[rows]).sum()) for rows in order)
        mapped = READ_CELLS / (time.perf_counter() - start)
        for workers in (0, 1, 2):
            start = time.perf_counter()
            seen = sum(
                int(images.sum()) for _, images in shuffled_crops(store, batch_size=BATCH, seed=0, workers=workers)
            )
            rate = READ_CELLS / (time.perf_counter() - start)
            assert seen == total, "not every cell once"
            case = f"random batches of {BATCH}, {READ_PX} px, {workers} worker(s), against a memory map"
            print(f"{case}\t{rate:.0f}\t{mapped:.0f}\tcells/s\t{rate / mapped:.2f}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    print("case\tours\tpeer\tunit\tratio")
    cutting(int(sys.argv[1]) if len(sys.argv) > 1 else None, int(sys.argv[2]) if len(sys.argv) > 2 else 256)
    reading()


if __name__ == "__main__":
    main()
