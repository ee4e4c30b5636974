"""Made-up sets in the form of those of docs/evidence.md, small enough for a training of a step or two."""

import sys
from importlib import import_module
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from training_example import run

from subcell.crops.store import write_h5sc

ROOT = Path(__file__).parents[2]
LOCATIONS = ("Nucleoli", "Cytosol", "Mitochondria")
COMPOUNDS = {"a1": "A", "a2": "A", "a3": "A", "b1": "B", "b2": "B", "b3": "B", "c1": "C", "c2": "C"}
PLATES = ("P1", "P2", "P3")


def part_of_evidence(name):
    """A file of evidence/ as a module."""
    sys.path.insert(0, str(ROOT / "evidence"))
    try:
        return import_module(name)
    finally:
        sys.path.pop(0)


def write_pretrained(folder, crop_file):
    """Checkpoint of a micro network for crops of 32 px at 1.6 um that scales each channel by itself."""
    run(folder, crop_file, epochs=1, objective={"scaling": "channel"})
    return folder / "checkpoint.safetensors"


def cells_of_fields(fields=18, cells=4):
    """Table of cells, a location a field."""
    rows = [
        {"field_id": f"f{field:02}", "centroid_x_px": 10.0 * cell, "locations": LOCATIONS[field % 3], "split": None}
        for field in range(fields)
        for cell in range(cells)
    ]
    return pd.DataFrame(rows, index=[f"c{number:03}" for number in range(len(rows))])


def cells_of_drugs(cells=2):
    """Table of cells: each compound in one well of three plates, and two controls on each plate."""
    wells = [(name, f"A{number:02}", mechanism, "") for number, (name, mechanism) in enumerate(COMPOUNDS.items())]
    wells += [("DMSO", f"H{number:02}", "DMSO", "negative") for number in range(2)]
    rows = [
        {"field_id": f"{plate}{well}", "plate": plate, "well": well, "compound": name, "mechanism": mechanism}
        | {"control": control, "cell_line": "MCF-7", "split": ""}
        for plate in PLATES
        for name, well, mechanism, control in wells
        for _ in range(cells)
    ]
    return pd.DataFrame(rows, index=[f"c{number:03}" for number in range(len(rows))])


def write_crops(path, obs, *, pixels=32, field_um=51.2):
    """Random pixels, a square in the middle as nucleus and cell."""
    images = np.random.default_rng(0).integers(0, 255, (len(obs), 6, pixels, pixels), dtype=np.uint8)
    images[:, :2] = 0
    images[:, :2, pixels // 4 : -pixels // 4, pixels // 4 : -pixels // 4] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    write_h5sc(path, obs, images, field_um=field_um)
    return path


def write_wells(path):
    """CellProfiler's wells: a number a compound, and noise."""
    obs = cells_of_drugs(cells=1)
    obs.index = obs["plate"] + obs["well"]
    codes = pd.get_dummies(obs["compound"]).to_numpy(np.float32)
    noise = np.random.default_rng(1).normal(0, 0.1, (len(obs), 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    anndata.AnnData(np.hstack([codes, noise]).astype(np.float32), obs=obs).write_h5ad(path)
    return path


def write_map(folder, vectors, *, genes=40):
    """A map of two levels whose finer one is the marker compartments, of genes half of which are markers."""
    folder.mkdir(parents=True, exist_ok=True)
    vectors.parent.mkdir(parents=True, exist_ok=True)
    kinds = np.arange(genes) % 4
    names = [f"G{number}" for number in range(genes)]
    marker = np.where(np.arange(genes) < genes // 2, [f"M{kind}" for kind in kinds], "unknown")
    features = np.eye(4, dtype=np.float32)[kinds] + np.random.default_rng(0).normal(0, 0.05, (genes, 4)).astype(
        np.float32
    )
    index = [f"P{number}" for number in range(genes)]
    anndata.AnnData(features, obs=pd.DataFrame({"gene": names, "lopit_marker": marker}, index=index)).write_h5ad(
        vectors
    )
    levels = {"level_1": (kinds // 2 + 1).astype(str), "level_2": (kinds + 1).astype(str)}
    anndata.AnnData(features, obs=pd.DataFrame(levels, index=names)).write_h5ad(folder / "map.h5ad")
    rows = [
        {
            "level": level,
            "cluster": str(cluster),
            "size": genes // count,
            "stability": 0.9,
            "name": ["term", ""][cluster % 2],
        }
        for level, count in ((1, 2), (2, 4))
        for cluster in range(1, count + 1)
    ]
    pd.DataFrame(rows).to_csv(folder / "clusters.tsv", sep="\t", index=False)
    levels_of = {"level": [1, 2], "clusters": [2, 4], "stable_clusters": [2, 3], "ari_seeds": [1.0, 0.9]}
    pd.DataFrame(levels_of).to_csv(folder / "levels.tsv", sep="\t", index=False)
    controls = {"level": [1, 2], "source": ["GO CC"] * 2, "clusters": [2, 4], "clusters_enriched": [1, 2]}
    controls |= {"significant": [3, 4], "shuffled_significant": [0.0, 0.1]}
    pd.DataFrame(controls).to_csv(folder / "enrichment_controls.tsv", sep="\t", index=False)
    return vectors
