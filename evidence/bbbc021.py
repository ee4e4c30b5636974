"""Real cells under drugs (BBBC021): do compounds find themselves on other plates, and those of their mechanism?

    PYTHONPATH=workflow/scripts .venv/bin/python evidence/bbbc021.py --data ../shared/data

Crops are brought to the pixels of the pretrained network. Compounds are dealt to two folds by a hash of their names; networks
train on the compounds of one fold and on DMSO (cells of a compound are positives) and are scored on the compounds of the
other, in turn. Cells are averaged to wells, in one way for all models that was set beforehand (`WAY`). Two tasks:

- compound across plates: a treated well ranks those of held-out compounds on other plates; right are those of its compound;
- mechanism: a treated well of a held-out compound ranks the wells of all other compounds on other plates; right are those of
  its mechanism. Chance is the mean over exchanges of mechanisms among compounds.

CellProfiler's features of the same wells (published, of all their cells) stand beside: asked are the treated wells that both
files have, so that all models rank the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from models import UNTRAINED, Fold, Pretrained, compare, deal, described
from numpy.typing import NDArray
from scores import BOOTSTRAPS, SEED, Scored, tidy

from subcell.benchmarks.inputs.profiles import Processing, average_wells, process
from subcell.benchmarks.probes.frozen import Cells, read_cells, text_of
from subcell.benchmarks.statistics.bootstrap import bootstrap_mean
from subcell.benchmarks.tasks.perturbation import EXCHANGES, retrieval
from subcell.crops.store import MASKS, CropStore, create_crops

NAME = "bbbc021"
CHANNELS_PRESENT = ("microtubules", "nucleus", "protein")
WAY = Processing(average="mean", scale="standard", select=True, sphere="correlation")
"""Plates have few wells here, which a median deviation does not stand; else the default of the benchmark."""

ITEMS_PER_COMPOUND = 8
CELLPROFILER = "CellProfiler wells"
CELLS_AT_ONCE = 256
TASKS = {"compound across plates": "compound", "mechanism": "mechanism"}


def run(
    crops: Path, wells: Path, pretrained: Pretrained, folder: Path, *, trainings: bool = True, log: Callable = print
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Score all models.

    Parameters
    ----------
    crops : crop file of the cells, with plate, well, compound, mechanism and control
    wells : AnnData file with CellProfiler's features of wells
    folder : to write to
    trainings : see `models.compare`

    Returns
    -------
    table : columns `scores.COLUMNS`
    counted : cells, treated wells, compounds and mechanisms behind it
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / "cells.h5sc"
    resample(crops, own, pixels=pretrained.image_px, um_per_px=pretrained.um_per_px)
    cell_profiler = read_cells(wells)
    obs = CropStore(own).obs
    asked = treated_wells(obs) & treated_wells(cell_profiler.obs)
    scored: dict[str, dict[str, Scored]] = {task: {} for task in TASKS}

    def keep(model: str, folds: Sequence[Fold]) -> None:
        found = score_folds(folds, asked, seeds=int(model.startswith(("continued", "from nothing"))))
        for task in TASKS:
            scored[task][model] = found[task]
        log(f"{model}: " + ", ".join(f"{task} {found[task].estimate.value:.3f}" for task in TASKS))

    for model, folds in compare(
        own,
        deal_compounds,
        pretrained,
        folder,
        positives="compound",
        items_per_antibody=ITEMS_PER_COMPOUND,
        trainings=trainings,
        log=log,
    ):
        keep(model, folds)
    dealt = deal_compounds(cell_profiler.obs)
    keep(CELLPROFILER, [Fold(number, cell_profiler, dealt == number) for number in (0, 1)])
    parts = [tidy(NAME, task, "mAP", "compound", scored[task], UNTRAINED) for task in TASKS]
    treated = obs[text_of(obs, "control").isna()]
    counted = {"cells": len(obs), "wells": len(asked), "compounds": treated["compound"].nunique()}
    return pd.concat(parts, ignore_index=True), counted | {"mechanisms": treated["mechanism"].nunique()}


def resample(crops: Path, out: Path, *, pixels: int, um_per_px: float) -> None:
    """Crops at another pixel size, the middle of each; masks stay masks.

    Parameters
    ----------
    pixels, um_per_px : of the crops to write, which show no more than those that there are
    """
    store = CropStore(crops)
    zoom = store.um_per_px / um_per_px
    with create_crops(out, field_um=pixels * um_per_px, pixels=pixels) as writer:
        for start in range(0, len(store), CELLS_AT_ONCE):
            rows = np.arange(start, min(start + CELLS_AT_ONCE, len(store)))
            images = np.stack([_zoomed(image, zoom, pixels) for image in store.read(rows)])
            writer.append(images, described(store.obs.iloc[rows], CHANNELS_PRESENT))


def _zoomed(image: NDArray[np.integer], zoom: float, pixels: int) -> NDArray[np.integer]:
    """(6, H, W) to (6, pixels, pixels), the middle on the middle; areas are averaged where it becomes smaller."""
    # Centres of pixels lie at whole numbers.
    shift = (pixels - 1) / 2 - zoom * (np.array(image.shape[:0:-1]) - 1) / 2
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    planes = []
    for number, plane in enumerate(image):
        how = cv2.INTER_NEAREST if number < len(MASKS) else cv2.INTER_LINEAR
        planes.append(cv2.warpAffine(plane, matrix, (pixels, pixels), flags=how, borderMode=cv2.BORDER_CONSTANT))
    return np.stack(planes)


def deal_compounds(obs: pd.DataFrame) -> NDArray[np.int_]:
    """Fold of each cell or well by its compound; -1 for controls, which are on the training side of both."""
    treated = text_of(obs, "control").isna().to_numpy() & text_of(obs, "compound").notna().to_numpy()
    found = np.full(len(obs), -1)
    found[treated] = deal(obs["compound"][treated].astype(str))
    return found


def treated_wells(obs: pd.DataFrame) -> set[str]:
    """Names of wells with a compound that is no control, as `average_wells` writes them."""
    treated = obs[text_of(obs, "control").isna() & text_of(obs, "compound").notna()]
    return set(treated["plate"].astype(str) + "|" + treated["well"].astype(str))


def score_folds(folds: Sequence[Fold], asked: set[str], *, seeds: int = 0) -> dict[str, Scored]:
    """Scores of both tasks, over the held-out compounds of all folds.

    Parameters
    ----------
    asked : names of the wells that ask and answer
    """
    parts: dict[str, list[pd.DataFrame]] = {task: [] for task in TASKS}
    for fold in folds:
        wells = average_wells(Cells(fold.cells.features, fold.cells.obs), WAY.average)
        vectors = process(wells, WAY)
        pool = wells.treated & wells.about.index.isin(list(asked))
        held = wells.about["compound"].isin(set(fold.cells.obs["compound"][fold.held_out])).to_numpy()
        # Training compounds were pulled apart from each other: they may answer for a mechanism, not stand against a compound.
        for task, among in (("compound across plates", pool & held), ("mechanism", pool)):
            found = retrieval(wells.about, vectors, among, exchanges=EXCHANGES, seed=SEED)
            names = {f"{TASKS[task]}_map": "score", f"{TASKS[task]}_map_chance": "chance"}
            mine = found[found["compound"].isin(set(wells.about["compound"][held]))]
            parts[task].append(mine.rename(columns=names)[["compound", "score", "chance"]])
    return {task: _mean_over_compounds(found, seeds) for task, found in parts.items()}


def _mean_over_compounds(parts: Sequence[pd.DataFrame], seeds: int) -> Scored:
    compounds = pd.concat(parts).dropna().groupby("compound").mean().sort_index()
    found = bootstrap_mean(compounds["score"], bootstraps=BOOTSTRAPS, seed=SEED, bounds=(0, 1))
    return Scored(found, float(compounds["chance"].mean()), len(compounds), seeds)


def main() -> None:
    """Score, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--results", type=Path, default=Path("results/evidence"))
    parser.add_argument("--pretrained", type=Path, default=Path("resources/subcell_tiny.safetensors"))
    asked = parser.parse_args()
    crops, wells = asked.data / "real_cells" / "bbbc021.h5sc", asked.data / "real_vectors" / "bbbc021_wells.h5ad"
    table, counted = run(crops, wells, Pretrained.read(asked.pretrained), asked.results / f"scores_{NAME}")
    print(table.to_string(index=False), counted)


if __name__ == "__main__":
    main()
