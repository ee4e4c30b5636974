"""Cells with labels, their vectors, and a benchmark run on them."""

import json

import numpy as np
import pandas as pd

from subcell.embedding.store import create_vectors

PLACES = ("Cytosol", "Mitochondria", "Nucleoli", "Nucleoplasm")
LINES = ("U2OS", "HeLa")
COUNTED = {"head_seeds": 1, "bootstraps": 200, "min_test_antibodies": 2, "seed": 0}


def table_of_cells(*, antibodies=32, cells=4):
    """Cells of antibodies with one or two locations, all lines, held out antibody by antibody."""
    rows = []
    for number in range(antibodies):
        places = {PLACES[number % 4], PLACES[(number // 4) % 4]}
        for line in LINES:
            for cell in range(cells):
                field = f"P{line}_{number}"
                rows.append(
                    {
                        "cell_id": f"{field}:{cell}",
                        "field_id": field,
                        "plate": f"P{line}",
                        "well": f"W{number}",
                        "cell_line": line,
                        "antibody": f"HPA{number:05d}",
                        "gene": f"G{number:03d}",
                        "locations": ";".join(sorted(places)),
                        "split": ("train", "test", "train", "valid")[(number // 4 + number) % 4],
                    }
                )
    return pd.DataFrame(rows).set_index("cell_id")


def one_hot(obs, column="locations"):
    values = obs[column].fillna("")
    names = sorted({name for text in values for name in text.split(";")})
    return np.array([[name in text.split(";") for name in names] for text in values], float)


def write_cells(path, obs, vectors):
    with create_vectors(path, obs, features=[f"f{i}" for i in range(vectors.shape[1])], uns={"model": "m"}) as file:
        file.write("X", 0, np.asarray(vectors, np.float32))
    return path


def run(function, folder, obs, vectors, *, model="m", **options):
    folder.mkdir(parents=True, exist_ok=True)
    cells = write_cells(folder / f"{model}.h5ad", obs, vectors)
    result = function(
        cells,
        out_json=folder / f"{model}.json",
        out_parquet=folder / f"{model}.parquet",
        dataset="d",
        model=model,
        **{"simulated": True, **COUNTED, **options},
    )
    return result, json.loads((folder / f"{model}.json").read_text()), pd.read_parquet(folder / f"{model}.parquet")


def metrics_of(result):
    return {metric["metric"]: metric for metric in result["metrics"]}


def noise_like(obs, columns):
    return np.random.default_rng(0).normal(size=(len(obs), columns))


def antibody_number(obs):
    return obs["antibody"].str.removeprefix("HPA").astype(int)
