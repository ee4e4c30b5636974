"""Training: cells a second beside timm's own network, share of the machine's matmul rate, and whether crops come fast enough.

Usage: PYTHONPATH=workflow/scripts python speed/training.py [--device cuda] [--steps 6] [--cells 64] [--base-cells 2]
On a GPU, the paper's batch by cached gradients:
    --device cuda --cells 0 --base-cells 896 --cells-per-pass 32 --base-precision bf16
Prints case, ours, peer, unit, ratio (above 1: ours is better). Crops are random and smooth, in four shards.

The peer is timm's VisionTransformer of the same width, depth and tokens, taught by AdamW to tell classes apart: forward,
backward and update of as many views as ours has, on images that lie in memory. Ours also reads, augments, pools,
projects, compares and reconstructs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import timm
import torch

from subcell.crops.store import CropStore, write_h5sc
from subcell.model.data.batches import RowsOfSteps, make_views, read_batches
from subcell.model.data.sampler import ItemSampler
from subcell.model.loop.loop import CellLabels, TrainingLoop
from subcell.model.loop.plan import cost_of_step
from subcell.model.loop.pretraining import Pretraining
from subcell.model.network.sizes import SIZES, Size
from subcell.model.objectives.recipes import RECIPES

SHARDS = 4
ITEM = 8
"""Cells of an antibody's sample, as in the paper; of a batch that is smaller than two of them, 2."""
CLASSES = [f"location {number}" for number in range(8)]


def row(case: str, ours: float, peer: float | None, unit: str) -> None:
    ratio = "" if peer is None else f"{ours / peer:.2f}"
    print(case, f"{ours:.3g}", "" if peer is None else f"{peer:.3g}", unit, ratio, sep="\t", flush=True)


def write_crops(folder: Path, cells: int, pixels: int) -> list[Path]:
    """Smooth random cells of antibodies with sixteen cells each, spread over shards."""
    random = np.random.default_rng(0)
    yy, xx = np.mgrid[:pixels, :pixels] / pixels - 0.5
    images = np.zeros((cells, 6, pixels, pixels), np.uint8)
    images[:, 0], images[:, 1] = xx**2 + yy**2 < 0.05, xx**2 + yy**2 < 0.16
    for image in images:
        for plane in image[2:]:
            plane[:] = cv2.resize(random.integers(0, 255, (12, 12), np.uint8), (pixels, pixels))
    number = np.arange(cells)
    obs = pd.DataFrame(
        {"field_id": number // 8, "plate": "P", "well": number // 16, "site": number // 8, "cell_line": "U2",
         "antibody": number // 16, "gene": number // 16, "locations": [CLASSES[n // 16 % 8] for n in number],
         "split": "train"}, index=[f"c{n:06d}" for n in number],
    ).astype(str)  # fmt: skip
    paths = []
    for shard in range(SHARDS):
        rows = number % SHARDS == shard
        paths.append(folder / f"{pixels}_{shard}.h5sc")
        write_h5sc(paths[-1], obs[rows], images[rows], field_um=51.2)
    return paths


def wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Floating point operations a second of a large product, the best of five."""
    side = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        _ = a @ b
        wait_for(device)
        best = min(best, time.perf_counter() - start)
    return float(2 * side**3 / best)


def timm_rate(size: Size, pixels: int, cells: int, views: int, precision: str, device: str, steps: int) -> float:
    """Cells a second of the peer."""
    network = timm.models.vision_transformer.VisionTransformer(
        img_size=pixels, patch_size=size.patch, in_chans=4, embed_dim=size.width, depth=size.depth, num_heads=size.heads,
        num_classes=len(CLASSES),
    ).to(device)  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters())
    images = torch.rand(cells * views, 4, pixels, pixels, device=device)
    labels = torch.arange(cells * views, device=device) % len(CLASSES)
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        wait_for(device)
        seconds.append(time.perf_counter() - start)
    return float(cells / np.median(seconds[1:]))


class Case:
    """One recipe, size and batch on crops in shards."""

    def __init__(
        self, paths: list[Path], recipe: str, size: str, cells: int, given: argparse.Namespace, **more
    ) -> None:
        self.store = CropStore(paths)
        rows = np.arange(len(self.store))
        self.item = ITEM if cells >= 2 * ITEM else 2
        self.sampler = ItemSampler(
            self.store.obs, rows, items_per_batch=cells // self.item, cells_per_item=self.item, seed=0
        )
        self.cells, self.device, self.steps = cells, given.device, given.steps
        self.workers = 0 if given.device == "cpu" else min(8, len(os.sched_getaffinity(0)) - 1)
        self.network = Pretraining(
            recipe=RECIPES[recipe], size=SIZES[size], image_px=self.store.pixels, classes=len(CLASSES), seed=0
        )
        self.cost = cost_of_step(
            self.network, cells, cells_per_pass=more.get("cells_per_pass"), precision=more.get("precision", "32")
        )
        labels = CellLabels(self.store.obs, rows, classes=CLASSES, positives="antibody")
        self.loop = TrainingLoop(
            self.network,
            labels=labels,
            cells_per_item=self.item,
            seed=0,
            device=given.device,
            **{"precision": "32", **more},
        )

    def batches(self):
        return read_batches(self.store, RowsOfSteps(self.sampler, 0, self.steps + 1), workers=self.workers)

    def train(self) -> tuple[float, float]:
        """Cells a second of whole steps, and the share of the time spent waiting for crops."""
        self.network.train()
        seconds, waits = [], []
        start = time.perf_counter()
        with self.batches() as batches:
            for number, (rows, crops) in enumerate(batches):
                waits.append(time.perf_counter() - start)
                self.loop.step(number, rows, crops, learning_rate=1e-4)
                wait_for(self.device)
                seconds.append(time.perf_counter() - start)
                start = time.perf_counter()
        return float(self.cells / np.median(seconds[1:])), float(np.sum(waits[1:]) / np.sum(seconds[1:]))

    def read(self, *, augment: bool) -> float:
        """Cells a second of reading shuffled crops, with or without making views of them."""
        seconds = []
        start = time.perf_counter()
        with self.batches() as batches:
            for _, crops in batches:
                if augment:
                    generator = torch.Generator(self.device).manual_seed(0)
                    make_views(
                        crops.to(self.device), recipe=self.network.recipe, cells_per_item=self.item, generator=generator
                    )
                    wait_for(self.device)
                seconds.append(time.perf_counter() - start)
                start = time.perf_counter()
        return float(self.cells / np.median(seconds[1:]))


def measure(
    name: str, paths: list[Path], recipe: str, size: str, cells: int, precision: str, given, cells_per_pass=None
) -> None:
    case = Case(paths, recipe, size, cells, given, precision=precision, cells_per_pass=cells_per_pass)
    if given.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rate, waiting = case.train()
    if given.device == "cuda":
        row(f"{name}: memory at its height", torch.cuda.max_memory_allocated() / 1e9, None, "GB")
    views = case.network.recipe.views
    at_once = cells_per_pass or cells
    peer = timm_rate(SIZES[size], case.store.pixels, at_once, views, precision, given.device, given.steps)
    row(f"{name}: training, against timm's ViT alone", rate, peer, "cells/s")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    share = case.cost.step_flops / cells * rate / matmul_rate(given.device, dtype)
    row(f"{name}: share of the machine's matmul rate", share, None, "1")
    row(f"{name}: share of time waiting for crops", waiting, None, "1")
    row(
        f"{name}: reading shuffled crops from {SHARDS} shards alone, against the step",
        case.read(augment=False),
        rate,
        "cells/s",
    )
    row(f"{name}: reading and two views alone, against the step", case.read(augment=True), rate, "cells/s")


def measure_tiny(folder: Path, given: argparse.Namespace) -> None:
    paths = write_crops(folder, 16 * given.cells, 96)
    for recipe in ("mae-cells-prots-pool", "vit-prots-pool"):
        measure(f"{recipe}, tiny 96 px, {given.cells} cells", paths, recipe, "tiny", given.cells, "32", given)
    ways = {
        "cached gradients in four parts, against all at once": {"cells_per_pass": given.cells // 4},
        "activations computed again, against kept": {"checkpoint_activations": True},
        **({"compiled, against not": {"compiled": True}} if given.compile else {}),
    }
    for name, way in ways.items():
        # Beside each other, so that another job on the machine slows both alike.
        rates = [Case(paths, "mae-cells-prots-pool", "tiny", given.cells, given, **how).train()[0] for how in (way, {})]
        row(name, *rates, "cells/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--cells", type=int, default=64, help="of a batch of the tiny network; 0 leaves it out")
    parser.add_argument("--base-cells", type=int, default=2, help="of a batch of the base network; 0 leaves it out")
    parser.add_argument(
        "--cells-per-pass", type=int, help="of the base network, by cached gradients; absent: all at once"
    )
    parser.add_argument("--base-precision", nargs="+", default=["32", "bf16"], choices=["32", "bf16"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--compile", action="store_true", help="also compiled; 0.5 to 2 minutes more each")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print("case", "ours", "peer", "unit", "ratio", sep="\t")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.cells:
            measure_tiny(folder, given)
        if given.base_cells:
            large = write_crops(folder, max(16 * SHARDS, min(4 * given.base_cells, 2048)), 448)
            for precision in given.base_precision:
                parts = f" in parts of {given.cells_per_pass}" if given.cells_per_pass else ""
                name = f"mae-cells-prots-pool, base 448 px, {given.base_cells} cells{parts}, {precision}"
                measure(name, large, "mae-cells-prots-pool", "base", given.base_cells, precision, given,
                        given.cells_per_pass)  # fmt: skip


if __name__ == "__main__":
    main()
