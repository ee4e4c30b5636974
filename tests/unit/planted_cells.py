"""Files of vectors of cells that are made up, and the run of a benchmark on them."""

import json

import numpy as np
import pandas as pd

from subcell.embedding.store import create_vectors

RESAMPLED = {"bootstraps": 100, "seed": 0}


def write_cells(path, obs, vectors):
    with create_vectors(path, obs, features=[f"f{i}" for i in range(vectors.shape[1])], uns={"model": "m"}) as file:
        file.write("X", 0, np.asarray(vectors, np.float32))
    return path


def score(task, folder, obs, vectors, **options):
    """The scores of a benchmark by name, and all that it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = write_cells(folder / "m.h5ad", obs, vectors)
    named = {"out_json": folder / "m.json", "out_parquet": folder / "m.parquet", "dataset": "d", "model": "m"}
    task.run(cells, **named, simulated=True, **{**RESAMPLED, **options})
    written = json.loads((folder / "m.json").read_text())
    return {metric["metric"]: metric for metric in written["metrics"]}, written, pd.read_parquet(folder / "m.parquet")
