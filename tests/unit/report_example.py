"""Small files in the formats that the stages write, random but seeded, to render a report from."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

from subcell.catalog.fields import as_fields, write_fields
from subcell.catalog.set_aside import set_aside_table, write_set_aside
from subcell.channels import CHANNELS
from subcell.crops.store import CropStore, write_h5sc
from subcell.embedding.store import create_vectors
from subcell.imaging.ledger import ledger_table, write_ledger
from subcell.reporting.scores.leaderboard import leaderboard, write_leaderboard
from subcell.reporting.scores.seeds import scores_over_seeds, write_scores_over_seeds
from subcell.segmentation.masks import create_masks

LOCATIONS = ("Nucleoplasm", "Cytosol", "Mitochondria", "Plasma membrane", "Nucleoli", "Golgi apparatus;Cytosol")
MODELS = {
    "mae_cells_prots_pool": {
        "kind": "subcell", "recipe": "mae-cells-prots-pool", "size": "tiny", "train_on": ["demo"], "seed": 42,
        "training": {
            "epochs": 40, "items_per_batch": 24, "cells_per_item": 4, "learning_rate": 1e-4, "warmup_epochs": 5,
            "positives": "antibody", "precision": "32",
        },
    },
    "vit_prots_pool": {"kind": "subcell", "recipe": "vit-prots-pool", "size": "tiny", "train_on": ["demo"], "seed": 42},
    "random_vit": {"kind": "random_vit", "size": "tiny"},
    "handcrafted": {"kind": "handcrafted"},
    "shortcuts": {"kind": "shortcuts"},
}  # fmt: skip


def example_config(datasets: dict[str, str], models: dict | None = None) -> dict:
    """A configuration with datasets {name: source}."""
    split = {"by": "gene", "train": 0.6, "valid": 0.15, "seed": 0}
    extra = {"simulate": {"seed": 1, "genes": 24, "cell_lines": 3, "field_px": 256, "pixel_size_um": 0.32}}
    return {
        "datasets": {name: {"source": source, "split": split, **extra.get(source, {})} for name, source in datasets.items()},
        "segmentation": {
            "model": "compact", "working_um_per_px": 0.32, "flow_threshold": 0.4, "cellprob_threshold": 0.0,
            "min_nucleus_um2": 16.0, "min_cell_um2": 35.0, "compare_with": "cpsam_v2",
        },
        "crops": {"field_um": 51.2, "pixels": 96, "border_cells": "keep"},
        "models": MODELS if models is None else models,
        "map": {"unit": "gene", "average": "mean", "levels": [0.1, 0.5, 1.0, 2.0], "neighbors": 15, "seeds": 20},
        "benchmarks": ["localization", "cell_line", "segmentation"],
        "scoring": {"head_seeds": 10, "bootstraps": 1000, "min_test_antibodies": 3, "reference": "random_vit"},
    }  # fmt: skip


def draw_field(rng: np.random.Generator, side: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ellipses that look enough like cells: image (4, side, side) uint8, nuclei and cells (side, side)."""
    y, x = np.mgrid[:side, :side].astype(float)
    nuclei, cells = np.zeros((side, side), np.int32), np.zeros((side, side), np.int32)
    for number, (cy, cx) in enumerate(((60, 70), (75, 190), (180, 60), (190, 185)), start=1):
        cy, cx = cy + rng.normal(0, 8), cx + rng.normal(0, 8)
        angle = rng.uniform(0, np.pi)
        u, v = np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy), np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)
        wobble = 1 + 0.08 * np.sin(5 * np.arctan2(v, u) + rng.uniform(0, 6))
        distance = np.hypot(u / rng.uniform(46, 56), v / rng.uniform(36, 46)) / wobble
        cells[(distance < 1) & (cells == 0)] = number
        nuclei[(distance < 0.42) & (cells == number)] = number
    texture = [gaussian_filter(rng.random((side, side)), sigma) for sigma in (1, 2, 3, 1.5)]
    texture = [(t - t.min()) / np.ptp(t) for t in texture]
    cytosol = gaussian_filter(((cells > 0) & (nuclei == 0)).astype(float), 2)
    planes = [
        cytosol * texture[0],
        cytosol * texture[1],
        gaussian_filter((nuclei > 0) * 1.0, 1.5) * (0.6 + 0.4 * texture[2]),
    ]
    planes.append((cytosol if rng.random() < 0.5 else planes[2]) * texture[3] ** 3)
    image = np.stack([np.clip(230 * p / p.max() + rng.normal(0, 3, p.shape), 0, 255) for p in planes])
    return image.astype(np.uint8), nuclei, cells


def write_images(folder: Path, fields: pd.DataFrame, images: dict[str, np.ndarray]) -> None:
    """Images of some fields as PNG, with a ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, field_id in enumerate(fields["field_id"]):
        for channel, plane in zip(CHANNELS, images[field_id], strict=True):
            name = f"{number:04d}_{channel}.png"
            Image.fromarray(plane).save(folder / name)
            rows.append({"field_id": field_id, "channel": channel, "file": name, "plane": "", "status": "ok"})
    write_ledger(folder, ledger_table(rows))


def write_masks(path: Path, labels: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Masks of some fields."""
    with create_masks(path) as writer:
        for field_id, (nuclei, cells) in labels.items():
            writer.append(field_id, nuclei, cells, pixel_size_um=0.32)


def example_fields(names: list[str], **columns: list) -> pd.DataFrame:
    """A table of fields; columns not given are filled in."""
    many = len(names)
    table = {
        "field_id": names,
        "cell_line": [("U2OS", "HeLa", "A-431")[i % 3] for i in range(many)],
        "gene": [f"GENE{i // 2}" for i in range(many)],
        "antibody": [f"HPA{i // 2:06d}" for i in range(many)],
        "locations": [LOCATIONS[i % len(LOCATIONS)] for i in range(many)],
        "pixel_size_um": [0.32] * many,
    }
    return as_fields(pd.DataFrame({**table, **columns}))


def write_crops(path: Path, fields: pd.DataFrame, *, per_field: int = 3, pixels: int = 64, seed: int = 0) -> None:
    """Crops of random cells of these fields."""
    rng = np.random.default_rng(seed)
    rows, crops = [], []
    for row in fields.to_dict("records"):
        image, nuclei, cells = draw_field(rng)
        for label in range(1, per_field + 1):
            rows.append({**row, "label": label, "touches_border": False})
            y, x = (int(np.clip(v.mean() - pixels / 2, 0, 256 - pixels)) for v in np.nonzero(cells == label))
            window = np.s_[y : y + pixels, x : x + pixels]
            masks = [(nuclei[window] == label), (cells[window] == label)]
            crops.append(np.stack([*(m.astype(np.uint8) for m in masks), *(plane[window] for plane in image)]))
    obs = pd.DataFrame(rows, columns=[*fields.columns, "label", "touches_border"])
    obs.index = pd.Index([f"{r.field_id}:{r.label}" for r in obs.itertuples()], dtype=object)
    images = np.stack(crops) if crops else np.zeros((0, 6, pixels, pixels), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_h5sc(path, obs, images, field_um=pixels * 0.32)


def write_quality_inputs(folder: Path, fields: pd.DataFrame, *, seed: int = 0) -> dict[str, object]:
    """Files that the quality table is made from: four cells a field, the last field without any, two rows set aside."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names = list(fields["field_id"])
    qc = [{"field_id": name, "status": "ok", "reason": "", "focus": 0.5, "saturated_fraction": 0.001} for name in names]
    qc[0] |= {"pixel_size_warning": "nuclei are 7.0 um wide", "agreement_f1": 0.8}
    qc[-1] |= {"status": "no cells", "reason": "no cell was found"}
    cells = [
        {
            "field_id": name, "label": label, "touches_border": label == 4,
            "nucleus_area_um2": rng.normal(150, 20), "cell_area_um2": rng.normal(900, 120),
        }
        for name in names[:-1]
        for label in (1, 2, 3, 4)
    ]  # fmt: skip
    write_fields(fields, folder / "fields.parquet")
    pd.DataFrame(qc).to_parquet(folder / "qc.parquet")
    pd.DataFrame(cells).to_parquet(folder / "cells.parquet")
    write_ledger_only(folder / "images", names)
    write_set_aside(
        set_aside_table(
            [
                {
                    "field_id": "far_away",
                    "row": 7,
                    "stage": "sheet",
                    "reason": "protein: ../../secret.png leaves the folder of the sheet",
                },
                {"field_id": names[0], "row": 9, "stage": "sheet", "reason": "field_id occurs twice; row 2 was kept"},
            ]
        ),
        folder / "sheet.tsv",
    )
    return {
        "set_aside_tsvs": [folder / "sheet.tsv"],
        "image_dirs": [folder / "images"],
        "qc_paths": [folder / "qc.parquet"],
        "cells_paths": [folder / "cells.parquet"],
        "fields_paths": [folder / "fields.parquet"],
    }


def write_ledger_only(folder: Path, names: list[str], failed: dict[str, str] | None = None) -> None:
    """A ledger; fields in `failed` have a protein image that could not be had."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "field_id": name, "channel": channel, "file": f"{name}_{channel}.png", "plane": "",
            "status": "set aside" if channel == "protein" and name in (failed or {}) else "ok",
            "reason": (failed or {}).get(name, "") if channel == "protein" else "",
        }
        for name in [*names, *(failed or {})]
        for channel in CHANNELS
    ]  # fmt: skip
    write_ledger(folder, ledger_table(rows))


def write_training(path: Path, *, seed: int = 0, epochs: int = 40) -> None:
    """Curves of a training."""
    rng = np.random.default_rng(seed)
    rows = []
    for epoch in range(epochs):
        for metric, start, end in (
            ("loss", 6, 2.4),
            ("reconstruction", 1.0, 0.45),
            ("cell_specific", 2.6, 1.0),
            ("protein_specific", 2.4, 0.95),
        ):
            value = end + (start - end) * np.exp(-epoch / 9) + rng.normal(0, 0.03)
            rows.append({"step": epoch * 12, "epoch": epoch, "split": "train", "metric": metric, "value": value})
            if epoch % 5 == 4:
                rows.append({**rows[-1], "split": "valid", "value": value + 0.1})
        if epoch % 5 == 4:
            rows.append(
                {
                    "step": epoch * 12,
                    "epoch": epoch,
                    "split": "valid",
                    "metric": "macro_ap",
                    "value": 0.6 - 0.4 * np.exp(-epoch / 12),
                }
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(path)


def write_map(folder: Path, *, units: int = 48, seed: int = 0, genes: list[str] | None = None) -> dict[str, Path]:
    """A map with four levels and its table of clusters."""
    rng = np.random.default_rng(seed)
    home = rng.integers(0, len(LOCATIONS), units)
    centres = rng.normal(0, 4, (len(LOCATIONS), 2))
    names = genes or [f"GENE{i}" for i in range(units)]
    obs = pd.DataFrame({"n_cells": rng.integers(4, 60, units), "locations": [LOCATIONS[i] for i in home]}, index=names)
    rows, many = [], (2, 3, 5, 8)
    for level, clusters in enumerate(many, start=1):
        of_unit = (home * clusters) // len(LOCATIONS) if clusters < 6 else home + 6 * (rng.random(units) < 0.2)
        obs[f"level_{level}"] = pd.Categorical([str(c) for c in of_unit])
        for cluster in sorted(set(of_unit)):
            inside = of_unit == cluster
            members = ";".join(np.array(names)[inside])
            top = LOCATIONS[home[inside][0]].split(";")[0]
            row = {"level": level, "cluster": cluster, "parent": "" if level == 1 else 0, "size": inside.sum()}
            row |= {"stability": rng.uniform(0.6, 1), "members": members, "top_location": top}
            rows.append(row | {"resolution": level / 2, "name": f"{top} (80%)", "q_value": 10 ** -rng.uniform(0, 5)})
    folder.mkdir(parents=True, exist_ok=True)
    data = anndata.AnnData(X=np.zeros((units, 2), np.float32), obs=obs, uns={"unit": "gene"})
    data.obsm["X_umap"] = centres[home] + rng.normal(0, 1, (units, 2))
    data.write_h5ad(folder / "map.h5ad")
    pd.DataFrame(rows).to_csv(folder / "clusters.tsv", sep="\t", index=False)
    return {"map_h5ad": folder / "map.h5ad", "clusters_tsv": folder / "clusters.tsv"}


def write_result(
    path: Path, *, dataset: str, model: str, benchmark: str, simulated: bool, reason: str = "",
    replicates: list[float] | None = None, **head,
) -> Path:  # fmt: skip
    """One benchmark result; with a reason it was not run."""
    metric = {
        "metric": "macro_ap",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "chance": 0.15,
        "n": 21,
        "seeds": 10,
        "unit": "antibody",
    }
    result = {
        "benchmark": benchmark, "dataset": dataset, "model": model, "simulated": simulated,
        "status": "not run" if reason else "ok", "reason": reason,
        "metrics": [] if reason else [{**metric, **head}],
        "settings": {"task": "known answers", "classes": ["A", "B"], "unset": None, "cells": "those of held-out antibodies"},
        "details": {},
    }  # fmt: skip
    if replicates:
        result |= {"replicates": {metric["metric"]: replicates}, "units_key": "u"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))
    return path


def write_scores(
    folder: Path,
    results: list[Path],
    differences: list[tuple],
    models: dict | None = None,
    reference: str = "random_vit",
) -> dict[str, Path]:
    """All models on all benchmarks, with paired differences (dataset, model, benchmark, value, low, high), and what was
    not run."""
    read = [json.loads(path.read_text()) for path in results]
    table = leaderboard(read, models=models or MODELS)
    for dataset, model, benchmark, *numbers in differences:
        row = (table["dataset"] == dataset) & (table["model"] == model) & (table["benchmark"] == benchmark)
        table.loc[row, "reference"] = "random_vit"
        table.loc[row, ["difference", "difference_low", "difference_high"]] = numbers
    write_leaderboard(table, folder / "scores.parquet")
    missing = [result for result in read if result["status"] != "ok"]
    columns = ["dataset", "model", "benchmark", "reason"]
    pd.DataFrame(missing, columns=columns).to_csv(folder / "not_run.tsv", sep="\t", index=False)
    over_seeds = scores_over_seeds(read, models=models or MODELS, reference=reference)
    write_scores_over_seeds(over_seeds, folder / "seeds.tsv")
    names = {"leaderboard": "scores.parquet", "seeds_tsv": "seeds.tsv", "not_run_tsv": "not_run.tsv"}
    return {key: folder / name for key, name in names.items()}


def write_cells(path: Path, crops: Path, *, features: int = 2, seed: int = 0, attention: bool = False) -> Path:
    """Vectors of the cells of a crop file, near a centre of their gene; with attention, two heads of 4 x 4 patches."""
    rng = np.random.default_rng(seed)
    obs = CropStore(crops).obs
    centres = {gene: rng.normal(0, 5, features) for gene in sorted(obs["gene"].dropna().unique())}
    vectors = np.stack([centres.get(gene, np.zeros(features)) for gene in obs["gene"]]) + rng.normal(
        0, 1, (len(obs), features)
    )
    with create_vectors(path, obs, features=[f"f{i}" for i in range(features)], uns={"model": "example"}) as file:
        file.write("X", 0, vectors.astype(np.float32))
        if attention:
            file.create("obsm/attention", (2, 4, 4), np.float16)
            file.write("obsm/attention", 0, rng.random((len(obs), 2, 4, 4)).astype(np.float16))
    return path


def write_tables_of_map(folder: Path, genes: list[str], *, evil: str = "") -> dict[str, Path]:
    """What other stages may write beside a map: enrichment, annotation, locations, neighbors and agreement."""
    tables = {
        "enrichment": [
            {"level": 1, "cluster": "0", "source": "CORUM", "term": evil or "Ribosome", "hits": 3, "size": 9, "fold": 4.5,
             "p_value": 0.001, "q_value": 0.01},
        ],
        "annotation": [
            {"unit": gene, "gene": gene, "locations": "", "predicted_locations": evil or "Cytosol;Nucleoli",
             "predicted_q_values": "0.01", "disagrees": "False", "transferred_terms": evil or "translation"}
            for gene in genes[:-1]
        ],
        "locations": [
            {"unit": gene, "location": location, "probability": probability, "sd": 0.1, "n_cells": 9}
            for gene in genes
            for location, probability in ((evil or "Cytosol", 0.9), ("Nucleoli", 0.25))
        ],
        "neighbors": [{"unit": genes[0], "rank": rank, "neighbor": genes[rank], "similarity": 1 - rank / 10} for rank in (2, 1)],
        "agreement": [
            {"level": level, "resolution": level / 2, "clusters": 4 * level, "reference": reference, "value": 0.5,
             "shuffled": 0.1, "random": 0.12}
            for level in (1, 2)
            for reference in ("CORUM", evil or "GO")
        ],
    }  # fmt: skip
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    return {name: folder / f"{name}.tsv" for name in tables}


def write_logs(folder: Path) -> Path:
    """Benchmark files of some jobs, one of them cut off."""
    measured = {"s": 10.0, "cpu_time": 8.0, "max_rss": 500.0}
    for name in (
        "demo/segment/0000",
        "demo/segment/0001",
        "demo/random_vit/embed/0000",
        "demo/catalog",
        "models/a/train",
    ):
        path = folder / f"{name}.benchmark.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measured | ({"cpu_time": "NA"} if name.endswith("catalog") else {})) + "\n")
    (folder / "broken.benchmark.jsonl").write_text("{")
    return folder
