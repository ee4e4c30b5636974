"""A micro network, a crop file for it, and a training of a few steps."""

from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import load_file

from subcell.crops.store import write_h5sc
from subcell.model.loop.training import train
from subcell.model.network.sizes import Size

MICRO = Size(
    width=16,
    depth=1,
    heads=2,
    patch=8,
    pool_dim=8,
    projection_dim=16,
    projected_dim=8,
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=2,
)


def write_crop_file(path: Path) -> Path:
    """Six antibodies of five cells; four train, one is watched, one tests."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(6):
        split = "train" if number < 4 else ("valid", "test")[number - 4]
        for cell in range(5):
            rows.append(
                {
                    "field_id": f"f{number}",
                    "plate": "P1",
                    "well": f"A{number}",
                    "site": "1",
                    "cell_line": "U-2 OS",
                    "antibody": f"HPA{number}",
                    "gene": f"G{number}",
                    "compound": None,
                    "locations": ("Nucleoli", "Cytosol", "Cytosol;Nucleoli", None)[(number + cell) % 4],
                    "split": split,
                }
            )
    obs = pd.DataFrame(rows, index=[f"c{i}" for i in range(len(rows))])
    images = rng.integers(0, 255, (len(obs), 6, 32, 32), dtype=np.uint8)
    images[:, :2] = 0
    images[:, :2, 8:24, 8:24] = 1
    write_h5sc(path, obs, images, field_um=51.2)
    return path


def run(folder, crop_file, **settings):
    """Train the micro network; its weights, and its curves but those of time."""
    given = {
        "recipe": "mae-cells-prots-pool",
        "size": MICRO,
        "epochs": 3,
        "items_per_batch": 4,
        "cells_per_item": 2,
        "items_per_antibody": 2,
        "learning_rate": 1e-2,
        "warmup_epochs": 1,
        "validate_every": 2,
        "threads": 1,
        "seed": 1,
    }
    train(
        crop_file if isinstance(crop_file, list) else [crop_file],
        out_checkpoint=folder / "checkpoint.safetensors",
        out_curves=folder / "training.parquet",
        state_dir=folder / "state",
        **{**given, **settings},
    )
    curves = pd.read_parquet(folder / "training.parquet")
    timed = curves["metric"].isin(["cells_per_s", "data_wait"])
    return load_file(folder / "checkpoint.safetensors"), curves[~timed].reset_index(drop=True)
