"""Segmentation of five full-size fields against a plain loop of Cellpose's own call, with the same networks.

Usage: SUBCELL_SHARED=folder PYTHONPATH=workflow/scripts python speed/segmentation.py [fields]
       SUBCELL_SHARED=folder PYTHONPATH=workflow/scripts python speed/segmentation.py memory [fields]

The second is the peak memory of segmenting a shard of fields of 2048 px, and of cutting its cells, each in a process of its
own and as the rules do it: the real fields of that size in turn, under as many names as there are fields.

Both sides get the same pictures and write nothing. The peer is `CellposeModel.eval` on one full-size field after the other,
with the compact network as `model.net`; `diameter` makes it shrink the field to the pixel size at which the network works.
The pictures that the peer gets are normalised beforehand, outside its time, because Cellpose's own contrast is another;
ours is inside its time. What is timed is nuclei and cells, up to labels at the field's own pixels: matching them is ours
alone, and has its own row.

Nuclei agree. Cells do not, with this network: a cell is hundreds of pixels wide at the field's own pixels, and Cellpose's
dynamics break wide objects up. On one field of 19 cells the same flows give 34, 64 and 126 objects at 0.64, 0.32 and 0.16 um.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from subcell.channels import CHANNELS
from subcell.imaging.read import read_plane
from subcell.segmentation.network import INPUTS
from subcell.segmentation.scaling import normalise, resize_image, resize_labels
from subcell.segmentation.scoring import pooled, score_masks
from subcell.segmentation.segmenter import Segmenter

COLOURS = dict(zip(CHANNELS, ("red", "yellow", "blue", "green"), strict=True))
DIAMETER_AT_WORKING_SCALE_PX = 30.0
"""Cellpose brings what is `diameter` wide to 30 pixels."""


def full_size_fields() -> list[tuple[str, np.ndarray, float]]:
    folder = Path(os.environ.get("SUBCELL_SHARED", "")) / "data" / "hpa_fields"
    if not (folder / "fields.csv").is_file():
        raise SystemExit("SUBCELL_SHARED must name the folder that holds data/hpa_fields")
    fields = []
    for row in csv.DictReader((folder / "fields.csv").read_text(encoding="utf-8").splitlines()):
        if int(row["height"]) > 1024:
            planes = [read_plane(folder / f"{row['field_id']}_{colour}.png") for colour in COLOURS.values()]
            fields.append((row["field_id"], np.stack(planes), float(row["pixel_size_um"])))
    return fields


def ours(segmenter: Segmenter, image: np.ndarray, pixel_size_um: float) -> dict[str, np.ndarray]:
    """Nuclei and cells before they are matched, at the field's own pixels."""
    field = segmenter.prepare(image, pixel_size_um=pixel_size_um)
    flows = segmenter.predict([field])[0]
    return {name: resize_labels(segmenter.masks(field, flows[name])[0], field.native) for name in INPUTS}


def for_peer(segmenter: Segmenter, image: np.ndarray) -> dict[str, np.ndarray]:
    planes = np.stack([image[CHANNELS.index(name)] for name in INPUTS["cells"]])
    contrast = normalise(resize_image(planes, image.shape[1:]))
    nuclei = np.zeros_like(contrast)
    nuclei[0] = contrast[INPUTS["cells"].index("nucleus")]
    return {"nuclei": nuclei, "cells": contrast}


def peer(models, pictures, *, diameter: float, flow_threshold: float) -> dict[str, np.ndarray]:
    return {
        name: models[name].eval(
            pictures[name], channel_axis=0, normalize=False, diameter=diameter, flow_threshold=flow_threshold
        )[0]
        for name in INPUTS
    }


def peer_models(segmenter: Segmenter):
    """Cellpose's model around our networks; it is built without weights, which would have to be downloaded."""
    from cellpose.models import CellposeModel

    models = {}
    for name in INPUTS:
        model = CellposeModel.__new__(CellposeModel)
        model.device, model.gpu, model.backbone, model.pretrained_model = torch.device("cpu"), False, "sam_vitl", ""
        network = segmenter.network(name)
        model.net = _FirstChannels(network, len(INPUTS[name]))
        models[name] = model
    return models


class _FirstChannels(torch.nn.Module):
    """Cellpose hands three channels to any network; the nuclei network takes one."""

    def __init__(self, network: torch.nn.Module, channels: int) -> None:
        super().__init__()
        self.network, self.channels = network, channels
        self.device, self.dtype, self.backbone = network.device, network.dtype, "sam_vitl"

    def forward(self, x: torch.Tensor):
        return self.network(x[:, : self.channels].contiguous())


def agreement(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return float(pooled(score_masks(one, other, (0.5,)))["ap"][0])


def main() -> None:
    torch.set_num_threads(2)
    fields = full_size_fields()[: int(sys.argv[1]) if len(sys.argv) > 1 else None]
    print(f"# {len(fields)} fields, {torch.get_num_threads()} threads, torch {torch.__version__}, CPU")
    print("case\tours\tpeer\tunit\tratio")
    # The peer's flow check alone takes minutes a field, so it comes last.
    for flow_threshold, note in ((0.0, "flow check off"), (0.4, "flow check 0.4")):
        segmenter = Segmenter(flow_threshold=flow_threshold)
        models = peer_models(segmenter)
        ours(segmenter, *fields[0][1:])  # first calls compile and allocate
        results, seconds = {"ours": [], "peer": []}, {"ours": 0.0, "peer": 0.0}
        pixels = 0
        for _, image, um in fields:
            pixels += image[0].size
            pictures = for_peer(segmenter, image)
            diameter = DIAMETER_AT_WORKING_SCALE_PX * segmenter.working_um_per_px / um
            # Side by side on each field, so that another load of the machine meets both.
            start = time.perf_counter()
            results["ours"].append(ours(segmenter, image, um))
            seconds["ours"] += time.perf_counter() - start
            start = time.perf_counter()
            results["peer"].append(peer(models, pictures, diameter=diameter, flow_threshold=flow_threshold))
            seconds["peer"] += time.perf_counter() - start
        rates = {side: pixels / 1e6 / value for side, value in seconds.items()}
        row = f"{rates['ours']:.3f}\t{rates['peer']:.3f}\tMpx/s\t{seconds['peer'] / seconds['ours']:.2f}"
        print(f"nuclei and cells, {note}\t{row}", flush=True)
        for name in INPUTS:
            both = [[result[name] for result in results[side]] for side in ("ours", "peer")]
            print(f"agreement of {name}, {note}, AP at IoU 0.5\t{agreement(*both):.3f}\t\tAP\t")
            counts = [sum(len(np.unique(labels)) - 1 for labels in side) for side in both]
            print(f"{name} found, {note}\t{counts[0]}\t{counts[1]}\tobjects\t", flush=True)
        if not flow_threshold:
            start = time.perf_counter()
            for _, image, um in fields:
                segmenter.segment(image, pixel_size_um=um)
            seconds_all = time.perf_counter() - start
            print(f"whole fields, matched into cells, {note}\t{pixels / 1e6 / seconds_all:.3f}\t\tMpx/s\t", flush=True)


PARTS = {
    "segmentation": """
from subcell.segmentation.run import segment_fields
from subcell.segmentation.segmenter import Segmenter
segment_fields(".", fields, Segmenter(), "m.zarr", "c.parquet", "q.parquet", workers=2)
""",
    "crops of 96 px": 'crop_fields(".", "m.zarr", "c.parquet", fields, "crops.h5sc", field_um=51.2, pixels=96)',
    "crops of 640 px": 'crop_fields(".", "m.zarr", "c.parquet", fields, "crops.h5sc", field_um=51.26, pixels=640)',
}
BEFORE = """
import resource
import pandas as pd, torch
from subcell.crops.run import crop_fields
torch.set_num_threads(2)
fields = pd.read_parquet("fields.parquet")
"""
AFTER = """
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def memory(count: int) -> None:
    """Peak memory of a shard of fields of 2048 px."""
    import pandas as pd

    from subcell.catalog.fields import as_fields
    from subcell.imaging.ledger import ledger_table, write_ledger

    source = Path(os.environ["SUBCELL_SHARED"]) / "data" / "hpa_fields"
    known = [(name, um) for name, image, um in full_size_fields() if image.shape[1] == 2048]
    print("case\tpeak GB\tfields/s, start and writing included")
    with tempfile.TemporaryDirectory() as folder:
        rows, fields = [], []
        for number in range(count):
            name, um = known[number % len(known)]
            fields.append({"field_id": f"field{number:03d}", "pixel_size_um": um})
            for channel, colour in COLOURS.items():
                file = f"{name}_{colour}.png"
                if number < len(known):
                    (Path(folder) / file).symlink_to((source / file).resolve())
                rows.append({"field_id": f"field{number:03d}", "channel": channel, "file": file, "status": "ok"})
        write_ledger(folder, ledger_table(rows))
        as_fields(pd.DataFrame(fields)).to_parquet(Path(folder) / "fields.parquet")
        library = str(Path(__file__).resolve().parents[1] / "workflow" / "scripts")
        for name, part in PARTS.items():
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", BEFORE + part + AFTER],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": library},
                check=True,
                capture_output=True,
                text=True,
            )
            rate = count / (time.perf_counter() - start)
            print(f"{name}, {count} fields of 2048 px\t{float(done.stdout.split()[-1]):.2f}\t{rate:.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        memory(int(sys.argv[2]) if len(sys.argv) > 2 else 128)
    else:
        main()
