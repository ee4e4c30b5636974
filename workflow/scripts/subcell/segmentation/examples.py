"""Training examples of the compact networks: simulated fields with truth, and labelled real nuclei."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from subcell.channels import CHANNELS
from subcell.errors import ImageError, SheetError
from subcell.imaging.read import read_field, read_labels, read_ledger, read_plane
from subcell.segmentation.network import INPUTS
from subcell.segmentation.scaling import normalise, resize_image, resize_labels

TARGET_STEP = 2
"""The networks predict, and are trained, on every second pixel of their input."""

NUCLEUS_DIAMETER_UM = 14.0
"""What nuclei of HPA's cell lines measure; pictures of nuclei without a pixel size are brought to it."""

WORLDS: tuple[dict[str, Any], ...] = (
    {"cells_per_field": (6, 13)},
    {"cells_per_field": (14, 24)},
    {"cells_per_field": (24, 38)},
    {"cells_per_field": (2, 7), "pixel_size_um": 0.26},
    {"cells_per_field": (8, 18), "microscope": "widefield"},
    {"cells_per_field": (16, 36), "pixel_size_um": 0.4, "microscope": "widefield"},
)
"""Settings of the simulated training fields; each world has its own seed, hence its own cell lines and plates."""


@dataclass(frozen=True)
class Example:
    """A picture and what a network should predict for it.

    Attributes
    ----------
    image : (C, Y, X) float16, normalised as for segmentation
    labels : (y, x) int32 at the resolution of the prediction
    flows : (2, y, x) float16 unit flow along y and x, zero outside objects
    zoom : pixels of `image` to a pixel of `labels`
    """

    image: NDArray[np.float16]
    labels: NDArray[np.int32]
    flows: NDArray[np.float16]
    zoom: float


def simulated_folders(out_dir: str | Path, *, fields: int, seed: int) -> list[Path]:
    """Simulate training fields in several worlds.

    Parameters
    ----------
    out_dir : folder that gets one folder a world
    fields : how many in all
    seed : of the worlds

    Returns
    -------
    folders with images, truth masks and ledgers
    """
    from subcell.sources.simulate import design_fields, simulate_fields

    folders = []
    for number, world in enumerate(WORLDS):
        settings = {"seed": 1000 * (seed + 1) + number, "genes": max(12, fields // 12), "cell_lines": 10, **world}
        designed = design_fields("train", **settings)
        wanted = len(range(number, fields, len(WORLDS)))
        chosen = designed.sample(min(wanted, len(designed)), random_state=seed).sort_index()
        folders.append(Path(out_dir) / f"world{number}")
        simulate_fields(chosen, folders[-1], **settings)
    return folders


def from_simulated(
    folders: Iterable[str | Path], *, working_um_per_px: float, seed: int, pixel_sizes_um: Iterable[float] | None = None
) -> Iterator[dict[str, Example]]:
    """Read simulated fields as examples for both networks.

    Half of the fields are stretched along a random direction, by up to 2: many real cells are spindles.

    Parameters
    ----------
    folders : folders with a ledger that names all channels and both truth masks
    working_um_per_px : pixel size at which the networks will work
    seed : of the stretching
    pixel_sizes_um : of each folder's images; those of `WORLDS` when None

    Yields
    ------
    examples by network, "nuclei" and "cells"
    """
    folders = list(folders)
    sizes = [world.get("pixel_size_um", 0.32) for world in WORLDS] if pixel_sizes_um is None else list(pixel_sizes_um)
    for folder, pixel_size_um in zip(folders, sizes, strict=True):
        ledger = read_ledger(folder)
        for field_id in sorted(ledger["field_id"].unique()):
            rng = np.random.default_rng([seed, *field_id.encode()])
            image, _ = read_field(folder, ledger, field_id)
            nuclei = read_labels(folder, ledger, field_id, "reference_nuclei")
            cells = read_labels(folder, ledger, field_id, "reference_cells")
            if nuclei is None or cells is None:
                raise ImageError(f"{folder}: field {field_id} has no truth masks to train on")
            shape = tuple(max(8, round(side * pixel_size_um / working_um_per_px)) for side in cells.shape)
            image = normalise(resize_image(image, (shape[0], shape[1])))
            nuclei, cells = (_nearest(labels, (shape[0], shape[1])) for labels in (nuclei, cells))
            if rng.random() < 0.5:
                image, nuclei, cells = _stretch(image, nuclei, cells, rng)
            truth = {"nuclei": _pieces(nuclei), "cells": cells}
            yield {
                name: make_example(
                    image[[CHANNELS.index(channel) for channel in channels]], truth[name], zoom=TARGET_STEP
                )
                for name, channels in INPUTS.items()
            }


def from_labelled_nuclei(folder: str | Path, *, working_um_per_px: float, split: str = "train") -> Iterator[Example]:
    """Read real pictures of nuclei as examples; they are scaled to the size of HPA's nuclei.

    Parameters
    ----------
    folder : `images.csv` with the columns image_id and split, and for each row `<image_id>.png` and
        `<image_id>_nuclei.png`, a label image
    working_um_per_px : pixel size at which the network will work
    split : rows to read

    Raises
    ------
    SheetError : no such folder, or a sheet that lacks columns
    """
    for image, labels in read_labelled_nuclei(folder, split=split):
        diameter_px = median_diameter_px(labels)
        if diameter_px == 0:
            continue
        wanted_px = NUCLEUS_DIAMETER_UM / working_um_per_px / TARGET_STEP
        zoom = diameter_px / wanted_px
        shape = tuple(max(8, round(side / zoom)) for side in labels.shape)
        small = resize_labels(_pieces(labels), (shape[0], shape[1]))
        yield make_example(normalise(image[None].astype(np.float32)), small, zoom=labels.shape[0] / shape[0])


def read_labelled_nuclei(folder: str | Path, *, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read pictures (Y, X) and label images (Y, X) of a folder of labelled nuclei; see `from_labelled_nuclei`."""
    sheet = Path(folder) / "images.csv"
    try:
        rows = pd.read_csv(sheet, dtype=str)
    except (OSError, ValueError) as error:
        raise SheetError(f"{sheet}: cannot read the sheet of labelled nuclei ({error})") from error
    missing = {"image_id", "split"} - set(rows.columns)
    if missing:
        raise SheetError(f"{sheet}: the sheet of labelled nuclei lacks the columns {', '.join(sorted(missing))}")
    for image_id in rows["image_id"][rows["split"] == split]:
        image = read_plane(Path(folder) / f"{image_id}.png")
        labels = read_plane(Path(folder) / f"{image_id}_nuclei.png").astype(np.int32)
        yield image, labels


def median_diameter_px(labels: NDArray[np.integer]) -> float:
    """Median over objects of the diameter of a disc of the same area; 0 without objects."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(2 * np.sqrt(np.median(areas) / np.pi)) if len(areas) else 0.0


def make_example(image: NDArray[np.float32], labels: NDArray[np.int32], *, zoom: float) -> Example:
    """A picture with its targets; labels of the picture's own size are thinned to every `zoom`th pixel."""
    from cellpose.dynamics import masks_to_flows_gpu

    if image.shape[1] == labels.shape[0] and zoom != 1:
        labels = labels[:: int(zoom), :: int(zoom)]
    # Cellpose wants ids without gaps; the leading zero keeps 0 the background of a field without any.
    numbered = np.unique(np.concatenate([[0], labels.ravel()]), return_inverse=True)[1][1:].reshape(labels.shape)
    flows = masks_to_flows_gpu(numbered)[0]
    return Example(image.astype(np.float16), numbered.astype(np.int32), flows.astype(np.float16), float(zoom))


def _nearest(labels: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.int32]:
    return labels if labels.shape == shape else resize_labels(labels, shape)


def _pieces(labels: NDArray[np.integer], least_px: int = 12) -> NDArray[np.int32]:
    """One number a connected piece: the two nuclei of a cell are two objects to the nuclei network."""
    pieces = np.zeros(labels.shape, np.int32)
    count = 0
    for number, window in enumerate(ndimage.find_objects(labels.astype(np.int32)), start=1):
        if window is None:
            continue
        found, _ = ndimage.label(labels[window] == number)
        for piece in np.flatnonzero(np.bincount(found.ravel()) >= least_px):
            if piece:
                count += 1
                pieces[window][found == piece] = count
    return pieces


def _stretch(
    image: NDArray[np.float32], nuclei: NDArray[np.int32], cells: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Stretch along one direction and squeeze across it, about the centre of the field."""
    by, angle = np.exp(rng.uniform(0.1, 0.35)), rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([by, 1 / by]) @ turn.T
    centre = (np.array(cells.shape[::-1]) - 1) / 2
    matrix = np.concatenate([linear, (centre - linear @ centre)[:, None]], axis=1)
    size = cells.shape[::-1]
    warped = np.stack([cv2.warpAffine(plane, matrix, size, flags=cv2.INTER_LINEAR) for plane in image]).astype(
        np.float32
    )
    truth = [
        cv2.warpAffine(labels.astype(np.float32), matrix, size, flags=cv2.INTER_NEAREST).astype(np.int32)
        for labels in (nuclei, cells)
    ]
    return warped, truth[0], truth[1]
