"""Accuracy of the compact segmentation: hand-made nuclei, masks of another program, and simulated truth.

Usage: SUBCELL_SHARED=folder PYTHONPATH=workflow/scripts python speed/masks.py [simulated fields a row]

AP is tp / (tp + fp + fn), counts summed over pictures. The pictures of BBBC038v1 have no pixel size: their median true
nucleus is taken for 14 um wide, as in training; those of the held-out part were in no training. The masks of real cells are
predicted by HPA-Cell-Segmentation, so that row is agreement. Simulated seeds are used nowhere else.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from subcell.channels import CHANNELS
from subcell.imaging.read import read_field, read_labels, read_ledger, read_plane
from subcell.segmentation.examples import NUCLEUS_DIAMETER_UM, median_diameter_px, read_labelled_nuclei
from subcell.segmentation.scoring import pooled, score_masks
from subcell.segmentation.segmenter import Segmenter
from subcell.sources.simulate import design_fields, simulate_fields

COLOURS = dict(zip(CHANNELS, ("red", "yellow", "blue", "green"), strict=True))
WORLDS = {
    "6 to 13 cells": {"cells_per_field": (6, 13)},
    "10 to 18 cells": {"cells_per_field": (10, 18)},
    "20 to 32 cells": {"cells_per_field": (20, 32)},
    "wide field, 0.29 um": {"cells_per_field": (8, 16), "pixel_size_um": 0.29, "microscope": "widefield"},
}
SEED = 9000


def report(case: str, truth: list[np.ndarray], found: list[np.ndarray]) -> None:
    score = pooled(score_masks(truth, found, (0.5, 0.75)))
    objects = sum(len(np.unique(labels)) - 1 for labels in truth)
    print(
        case,
        objects,
        *(f"{score[name][at]:.3f}" for name, at in (("f1", 0), ("ap", 0), ("ap", 1))),
        sep="\t",
        flush=True,
    )


def held_out_nuclei(folder: Path, segmenter: Segmenter) -> None:
    truth, found = [], []
    for plane, labels in read_labelled_nuclei(folder, split="valid"):
        image = np.zeros((len(CHANNELS), *plane.shape), plane.dtype)
        image[CHANNELS.index("nucleus")] = plane
        truth.append(labels)
        found.append(segmenter.segment(image, ["nucleus"], NUCLEUS_DIAMETER_UM / median_diameter_px(labels))[0])
    report(f"BBBC038v1, {len(truth)} held-out pictures, nuclei", truth, found)


def real_cells(folder: Path, segmenter: Segmenter) -> None:
    table = pd.read_csv(folder / "fields.csv")
    truth, found = [], []
    for row in table[table["cell_mask"].notna()].itertuples():
        truth.append(read_plane(folder / row.cell_mask).astype(np.int32))
        image = np.stack([read_plane(folder / f"{row.field_id}_{colour}.png") for colour in COLOURS.values()])
        found.append(segmenter.segment(image, pixel_size_um=row.pixel_size_um)[1])
    report(f"{len(truth)} HPA fields, cells of HPA-Cell-Segmentation", truth, found)


def simulated(segmenter: Segmenter, fields: int) -> None:
    for number, (name, more) in enumerate(WORLDS.items()):
        settings = {"seed": SEED + number, "genes": 24, "cell_lines": 4, "fields_per_well": 1} | more
        table = design_fields("unseen", **settings).sample(fields, random_state=0)
        pairs: dict[str, tuple[list, list]] = {"nuclei": ([], []), "cells": ([], [])}
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "images"
            simulate_fields(table, folder, **settings)
            ledger = read_ledger(folder)
            for row in table.itertuples():
                image, present = read_field(folder, ledger, row.field_id)
                labels = segmenter.segment(image, present, row.pixel_size_um)
                for what, seen in zip(pairs, labels, strict=True):
                    pairs[what][0].append(read_labels(folder, ledger, row.field_id, f"reference_{what}"))
                    pairs[what][1].append(seen)
        for what, both in pairs.items():
            report(f"SIMULATED, {name}, {what}", *both)


def main() -> None:
    shared = Path(os.environ.get("SUBCELL_SHARED", "")) / "data"
    if not (shared / "nuclei_dsb2018" / "images.csv").is_file():
        raise SystemExit("SUBCELL_SHARED must name the folder that holds data/nuclei_dsb2018 and data/hpa_fields")
    segmenter = Segmenter()
    print("case", "objects", "F1 at IoU 0.5", "AP at 0.5", "AP at 0.75", sep="\t")
    held_out_nuclei(shared / "nuclei_dsb2018", segmenter)
    real_cells(shared / "hpa_fields", segmenter)
    simulated(segmenter, int(sys.argv[1]) if len(sys.argv) > 1 else 16)


if __name__ == "__main__":
    main()
