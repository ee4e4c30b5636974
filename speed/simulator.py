"""The simulator: how fast it draws, how real its fields look, and how hard they are. All simulated data is SIMULATED.

Usage: PYTHONPATH=workflow/scripts python speed/simulator.py PART [...]

speed                  fields a second of two processes side by side, and whether one process draws the same bytes
look [FOLDER]          a composite and one picture a channel: real fields above, simulated ones below, same scale and contrast
realism                measures of real and of simulated cells, and how well a classifier tells them apart, by which of them
difficulty [SEED ...]  localization by models that bracket the demo, for two seeds of the generator
switches [EFFECT ...]  what measures each planted effect, with its switch on and off

`look` and `realism` read real fields of about 2048 px from SUBCELL_SHARED/data/hpa_fields; both sides are segmented by the
compact network. `difficulty` and `switches` cut their cells with the true masks. Tables are tab separated.
"""

import hashlib
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter
from segmentation import full_size_fields
from simulator_difficulty import BRACKETS, DEMO, PLANTED, row_of, score_switches, score_world

from subcell.channels import CHANNELS
from subcell.imaging.read import read_field, read_ledger
from subcell.segmentation.segmenter import Segmenter
from subcell.sources.simulate import design_fields, simulate_fields

PIXEL_UM = 0.32
AGAIN = 8
"""Fields that `speed` draws again in one process."""

RINGS = 5
SCALES_UM = (0.4, 0.8, 1.6)


def _draw(part: tuple[pd.DataFrame, str]) -> int:
    simulate_fields(part[0], part[1], **DEMO)
    return len(part[0])


def hashes_of(folder: str | Path) -> dict[str, str]:
    """SHA-256 of each picture below a folder, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).rglob("*.png")}


def different_files(fields: pd.DataFrame, folder: str | Path, drawn: dict[str, str]) -> tuple[int, int]:
    """Draw some fields again in one process, all at once: how many pictures there are, and how many differ from those drawn."""
    simulate_fields(fields, f"{folder}/again", **DEMO)
    again = hashes_of(f"{folder}/again")
    return len(again), sum(drawn.get(name) != found for name, found in again.items())


def speed() -> None:
    fields = design_fields("demo", **DEMO)
    with tempfile.TemporaryDirectory() as folder:
        parts = [(fields.iloc[number::2], f"{folder}/{number}") for number in range(2)]
        start = time.perf_counter()
        with ProcessPoolExecutor(2) as pool:
            drawn = sum(pool.map(_draw, parts))
        seconds = time.perf_counter() - start
        files, different = different_files(fields.iloc[:: len(fields) // AGAIN], folder, hashes_of(folder))
    print("case\tours\tpeer\tunit\tratio")
    print(f"demo drawn by two processes\t{drawn / seconds:.1f}\t\tfields/s\t")
    print(f"all {drawn} fields of the demo\t{seconds:.0f}\t60\ts\t{60 / seconds:.2f}")
    print(f"of {files} pictures drawn again by one process, other bytes\t{different}\t0\tpictures\t")
    if different:
        raise SystemExit("one process draws other pictures than two")


def real_fields() -> dict[str, np.ndarray]:
    """Real fields at the simulator's pixel size, (4, Y, X) uint8."""
    found = {}
    for name, image, pixel_um in full_size_fields():
        side = round(image.shape[1] * pixel_um / PIXEL_UM)
        found[name] = np.stack([cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in image])
    return found


def simulated_fields(number: int) -> dict[str, np.ndarray]:
    """Fields of the demo, evenly over its list."""
    fields = design_fields("demo", **DEMO)
    chosen = fields.iloc[np.linspace(0, len(fields) - 1, number).astype(int)]
    with tempfile.TemporaryDirectory() as folder:
        simulate_fields(chosen, f"{folder}/images", **DEMO)
        ledger = read_ledger(f"{folder}/images")
        return {name: read_field(f"{folder}/images", ledger, name)[0] for name in chosen["field_id"]}


def look(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [list(real_fields().values())[:4], list(simulated_fields(9).values())[1::2]]
    side = min(image.shape[1] for row in rows for image in row)
    rows = [[image[:, :side, :side] for image in row] for row in rows]
    for number, channel in enumerate(CHANNELS):
        _save(folder / f"{channel}.png", [[image[number] for image in row] for row in rows])
    _save(folder / "composite.png", [[_composite(image) for image in row] for row in rows])


def _composite(image: np.ndarray) -> np.ndarray:
    tubules, er, dna, protein = image.astype(np.float32)
    return np.clip(np.stack([tubules + er / 2, protein + er / 2, dna], axis=-1), 0, 255).astype(np.uint8)


def _save(path: Path, rows: list[list[np.ndarray]]) -> None:
    Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows])).save(path)
    print(path)


def realism() -> None:
    segmenter = Segmenter()
    measured = {}
    for side, fields in (("real", real_fields()), ("simulated", simulated_fields(40))):
        tables = [_measure(name, image, segmenter) for name, image in fields.items()]
        measured[side] = pd.concat(tables, ignore_index=True)
    print("measure\treal q10\treal median\treal q90\tsimulated q10\tsimulated median\tsimulated q90\tAUC alone")
    both = pd.concat(measured, names=["side"]).reset_index(level="side")
    truth = (both["side"] == "simulated").to_numpy()
    features = [name for name in both if name not in ("side", "field", "border")]
    for name in features:
        whole = both[~both["border"]] if name in ("nucleus_um2", "cell_um2", "nucleus_to_cell") else both
        quantiles = [whole[whole["side"] == side][name].quantile([0.1, 0.5, 0.9]) for side in measured]
        numbers = "\t".join(f"{value:.3g}" for side in quantiles for value in side)
        print(f"{name}\t{numbers}\t{_auc_alone(both[name].to_numpy(), truth):.2f}")
    for side, table in measured.items():
        print(
            f"# {side}: {table['field'].nunique()} fields, {len(table)} cells, {table['border'].mean():.2f} at the border"
        )
    _tell_apart(both, features, truth)


def _measure(name: str, image: np.ndarray, segmenter: Segmenter) -> pd.DataFrame:
    """Measures of each cell of a field."""
    nuclei, cells = segmenter.segment(image, pixel_size_um=PIXEL_UM)
    smooth = [image.astype(np.float32)]
    smooth += [np.stack([gaussian_filter(plane, scale / PIXEL_UM) for plane in smooth[0]]) for scale in SCALES_UM]
    bands = np.abs(np.diff(np.stack(smooth), axis=0))
    rows = []
    for label in range(1, int(cells.max()) + 1):
        inside, nucleus = cells == label, nuclei == label
        if inside.sum() < 100 or not nucleus.any():
            continue
        ys, xs = np.nonzero(inside)
        window = (slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1))
        border = bool(ys.min() == 0 or xs.min() == 0 or ys.max() == len(cells) - 1 or xs.max() == cells.shape[1] - 1)
        row = {
            "field": name,
            "border": border,
            "nucleus_um2": nucleus.sum() * PIXEL_UM**2,
            "cell_um2": inside.sum() * PIXEL_UM**2,
            "nucleus_to_cell": nucleus.sum() / inside.sum(),
        }
        depth = distance_transform_edt(np.pad(inside[window], 1))[1:-1, 1:-1][inside[window]]
        ring = np.minimum((depth / depth.max() * RINGS).astype(int), RINGS - 1)
        for number, channel in enumerate(CHANNELS):
            pixels = image[number][window][inside[window]].astype(float)
            mean = max(pixels.mean(), 1e-3)
            row |= {f"{channel}_q{q}": np.percentile(pixels, q) for q in (10, 50, 90, 99)}
            row[f"{channel}_zeros"] = float((pixels == 0).mean())
            row |= {f"{channel}_ring{r}": pixels[ring == r].mean() / mean for r in (0, 2, 4) if (ring == r).any()}
            row |= {
                f"{channel}_texture{scale}": band[number][window][inside[window]].mean() / mean
                for scale, band in zip(SCALES_UM, bands, strict=True)
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _auc_alone(values: np.ndarray, truth: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    found = roc_auc_score(truth, np.nan_to_num(values))
    return max(found, 1 - found)


def _tell_apart(table: pd.DataFrame, features: list[str], truth: np.ndarray) -> None:
    """AUC of classifiers that tell simulated from real cells, on fields that they were not trained on."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold

    values = table[features].fillna(0).to_numpy()
    scores = np.zeros(len(truth))
    weight = np.zeros(len(features))
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(values, truth, table["field"]):
        forest = RandomForestClassifier(300, class_weight="balanced", min_samples_leaf=3, random_state=0)
        scores[test] = forest.fit(values[train], truth[train]).predict_proba(values[test])[:, 1]
        weight += forest.feature_importances_ / 5
    print(f"# AUC of a random forest on held-out fields: {roc_auc_score(truth, scores):.3f}")
    order = np.argsort(-weight)[:8]
    print("# what gives it away: " + ", ".join(f"{features[i]} {weight[i]:.2f}" for i in order))


def difficulty(seeds: list[str]) -> None:
    print("seed\tmodel\tbenchmark\tmetric\tvalue\tlow\thigh\tchance")
    for seed in seeds or ("1", "2"):
        for found in score_world(DEMO | {"seed": int(seed)}, models=BRACKETS, benchmarks=["localization"]):
            print(seed, *row_of(found), sep="\t", flush=True)


def switches(effects: list[str]) -> None:
    print("effect\tswitch\texpected\tmodel\tbenchmark\tmetric\tvalue\tlow\thigh\tchance")
    for row in score_switches(effects or list(PLANTED)):
        print(*row, sep="\t", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    part, *chosen = sys.argv[1:] or ["speed"]
    if part == "look":
        look(Path(chosen[0] if chosen else os.path.join(".cache", "benchmarks", "simulator")))
    elif part in ("difficulty", "switches"):
        (difficulty if part == "difficulty" else switches)(chosen)
    elif part in ("speed", "realism"):
        (speed if part == "speed" else realism)()
    else:
        raise SystemExit(f"no part {part!r}; there are speed, look, realism, difficulty and switches")
