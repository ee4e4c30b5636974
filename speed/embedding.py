"""Cells a second of embedding, and memory of joining a million: `python speed/embedding.py [--cells N] [--merge N]`.

Prints `case  ours  peer  unit  ratio`, tab separated; a ratio above 1 means ours is better. Weights are random: time does
not depend on them. On a machine with a GPU, `--device cuda` measures there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from subcell.channels import CHANNELS  # noqa: E402
from subcell.crops.store import write_h5sc  # noqa: E402
from subcell.embedding.kinds import build_embedder  # noqa: E402
from subcell.embedding.run import embed_shard, merge_shards  # noqa: E402
from subcell.embedding.store import create_vectors  # noqa: E402
from subcell.model.network.encoder import build_encoder  # noqa: E402

PIXELS, DIM = 448, 1536


def row(case, ours, peer, unit, *, more_is_better=True):
    """Print a line; without a peer the ratio stays empty."""
    ratio = "" if peer is None else f"{ours / peer if more_is_better else peer / ours:.2f}"
    print(case, f"{ours:.3g}", "" if peer is None else f"{peer:.3g}", unit, ratio, sep="\t", flush=True)


def make_crops(folder, cells):
    """Smooth random cells as h5sc, and the same as the PNG files that the released script reads."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (cells, 4, 28, 28), np.uint8)
    images = np.zeros((cells, 6, PIXELS, PIXELS), np.uint8)
    yy, xx = np.mgrid[:PIXELS, :PIXELS] - PIXELS / 2
    images[:, 1] = (yy**2 + (xx * 1.3) ** 2) < 190**2
    images[:, 0] = (yy**2 + xx**2) < 80**2
    for number in range(cells):
        for channel in range(4):
            plane = cv2.resize(coarse[number, channel], (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC)
            images[number, 2 + channel] = plane * images[number, 1]
            cv2.imwrite(str(folder / f"{number}_{channel}.png"), images[number, 2 + channel])
    obs = pd.DataFrame(
        {"field_id": "f", "channels": ";".join(CHANNELS), "pixel_size_um": 0.16},
        index=[f"f:{i:06d}" for i in range(cells)],
    )
    write_h5sc(folder / "crops.h5sc", obs, images, field_um=71.8)
    return folder / "crops.h5sc"


def released_way(encoder, folder, cells, device):
    """The released inference script's way: a cell at a time, PNG files, attention of the last layer in full, a file a cell.

    Written from its description: four PNG files are decoded, scaled together, put through the network whose last block
    computes its whole attention matrix, and vector, probabilities and map of attention are saved in files of their own.
    """
    head = torch.nn.Sequential(
        torch.nn.Linear(DIM, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256), torch.nn.ReLU(), torch.nn.Linear(256, 31)
    ).to(device)
    last = encoder.blocks[-1].attn
    kept = {}

    def eager(module, inputs):
        n, tokens, width = inputs[0].shape
        qkv = module.qkv(inputs[0]).reshape(n, tokens, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4)
        attention = (qkv[0] @ qkv[1].transpose(-2, -1) * module.scale).softmax(-1)
        kept["attention"] = attention
        return module.proj((attention @ qkv[2]).transpose(1, 2).reshape(n, tokens, width))

    fused, last.forward = last.forward, lambda x, **more: eager(last, (x,))
    try:
        start = time.perf_counter()
        for number in range(cells):
            planes = [cv2.imread(str(folder / f"{number}_{channel}.png"), cv2.IMREAD_UNCHANGED) for channel in range(4)]
            image = np.stack(planes).astype(np.float32)
            image = (image - image.min()) / (image.max() - image.min() + 1e-6)
            with torch.inference_mode():
                found = encoder(torch.from_numpy(image)[None].to(device))
                probabilities = head(found.vector).sigmoid()
            np.save(folder / f"{number}_embedding.npy", found.vector[0].cpu().numpy())
            np.save(folder / f"{number}_probabilities.npy", probabilities[0].cpu().numpy())
            maps = found.attention[:, :, 1:].reshape(1, 2, PIXELS // 16, PIXELS // 16)
            maps = F.interpolate(maps, size=(PIXELS, PIXELS), mode="bilinear")[0].cpu().numpy()
            picture = np.hstack([(m - m.min()) / (m.max() - m.min() + 1e-6) for m in maps])
            cv2.imwrite(str(folder / f"{number}_attention_map.png"), (picture * 255).astype(np.uint8))
        return cells / (time.perf_counter() - start)
    finally:
        last.forward = fused


def forward_alone(encoder, cells, batch, device):
    """The network on tensors that are in memory already."""
    images = torch.rand(batch, 4, PIXELS, PIXELS, device=device)
    with torch.inference_mode():
        encoder(images[:1])
        start = time.perf_counter()
        for _ in range(max(1, cells // batch)):
            encoder(images)
        if device != "cpu":
            torch.cuda.synchronize()
    return max(1, cells // batch) * batch / (time.perf_counter() - start)


def matmul_rate(device, dtype):
    """Floating point operations a second of a large product, the best of five."""
    side = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        _ = a @ b
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def flops_a_cell():
    """Multiply-adds of ViT-B/16 on 785 tokens, twice: projections and MLP, attention, patches."""
    tokens, width, depth = (PIXELS // 16) ** 2 + 1, 768, 12
    linear = tokens * 12 * width**2 * depth
    attention = 2 * tokens**2 * width * depth
    return 2 * (linear + attention + tokens * width * 4 * 256)


def embedding(cells, batch, device, compiled):
    precisions = ["32", "bf16"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crops = make_crops(folder, cells)
        encoder = build_encoder(size="base", image_px=PIXELS, seed=0).eval().to(device)
        # In turns, so that another job on the machine slows all of them alike; the best of the rounds counts.
        best = dict.fromkeys(("script", "alone", *precisions, *(["compiled"] if compiled else [])), 0.0)
        for _ in range(2):
            best["script"] = max(best["script"], released_way(encoder, folder, cells, device))
            best["alone"] = max(best["alone"], forward_alone(encoder, cells, batch, device))
            for way in [name for name in best if name not in ("script", "alone")]:
                precision = "bf16" if way == "compiled" else way
                settings = {
                    "kind": "random_vit",
                    "size": "base",
                    "seed": 0,
                    "precision": precision,
                    "compile": way == "compiled",
                }
                embedder = build_embedder("vit", settings, crops=crops, device=device)
                workers = 0 if device == "cpu" else os.cpu_count()
                start = time.perf_counter()
                embed_shard(crops, embedder, folder / "out.h5ad", batch_size=batch, workers=workers)
                best[way] = max(best[way], cells / (time.perf_counter() - start))
    row("ViT-B/16 448 px, float32, against forward alone", best["32"], best["alone"], "cells/s")
    row("ViT-B/16 448 px, float32, against the released script's way", best["32"], best["script"], "cells/s")
    row("ViT-B/16 448 px, bf16, against the released script's way", best["bf16"], best["script"], "cells/s")
    if compiled:
        row(
            "ViT-B/16 448 px, bf16 compiled (compilation included), against bf16",
            best["compiled"],
            best["bf16"],
            "cells/s",
        )
    for precision, dtype in (("32", torch.float32), ("bf16", torch.bfloat16)):
        share = best[precision] * flops_a_cell() / matmul_rate(device, dtype)
        row(f"share of the machine's matmul rate, {precision}", share, None, "1")


def merging(cells, shards):
    """Join shards in a process of its own, so that its memory is its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        block = np.random.default_rng(0).normal(size=(4096, DIM)).astype(np.float32)
        for shard in range(shards):
            ids = [f"field {i // 40:06d}:{i % 40}" for i in range(shard, cells, shards)]
            obs = pd.DataFrame(
                {"field_id": [i.split(":")[0] for i in ids], "gene": [f"G{i % 9000}" for i in range(len(ids))],
                 "locations": "Cytosol;Nucleoli", "pixel_size_um": 0.08},
                index=pd.Index(ids, name="cell_id"),
            ).sort_index()  # fmt: skip
            uns = {"model": "m", "um_per_px": 0.08}
            with create_vectors(
                folder / f"{shard}.h5ad", obs, features=[f"vector_{i}" for i in range(DIM)], uns=uns
            ) as file:
                for start in range(0, len(obs), len(block)):
                    file.write("X", start, block[: len(obs) - start])
        command = [sys.executable, __file__, "--merge-in", str(folder)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        row(f"joining {cells:,} x {DIM} from {shards} shards, peak memory, against its size in memory",
            float(found[0]), cells * DIM * 4 / 1e9, "GB", more_is_better=False)  # fmt: skip
        row(f"joining {cells:,} x {DIM}", float(found[1]), None, "s")


def merge_in(folder):
    start = time.perf_counter()
    merge_shards(sorted(folder.glob("?*.h5ad")), folder / "joined.h5ad")
    seconds = time.perf_counter() - start
    with h5py.File(folder / "joined.h5ad", "r") as file:
        assert file["X"].shape[1] == DIM
    # Not ru_maxrss, which begins with that of the parent.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) * 1024 / 1e9, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=16, help="cells embedded in each way")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--merge", type=int, default=1_000_000, help="cells joined; 0 leaves it out")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--merge-in", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.merge_in:
        merge_in(options.merge_in)
        return
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print("case", "ours", "peer", "unit", "ratio", sep="\t")
    if options.cells:
        embedding(options.cells, options.batch, options.device, options.compile)
    if options.merge:
        merging(options.merge, options.shards)


if __name__ == "__main__":
    main()
