"""Nucleoli and centrosomes as the simulator drew them, in the frame of the crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.crops.cut import crop_cells, field_size_px
from subcell.imaging.read import read_label_image
from subcell.segmentation.masks import MaskStore, open_masks

STRUCTURES = ("nucleoli", "centrosomes")


def drawn_structures(
    images: Sequence[str | Path], masks: Sequence[str | Path]
) -> Callable[[pd.DataFrame, float, int], dict[str, NDArray[np.bool_]]]:
    """A function that finds the masks of structures in the crops of some cells.

    Parameters
    ----------
    images : folders of simulated images, with `{field_id}_nucleoli.png` and `{field_id}_centrosomes.png`
    masks : label images with which the crops were cut

    Returns
    -------
    function of obs (N, ...) with `field_id`, `label` and `pixel_size_um`, and of `field_um` and `pixels` of the crops, that
    gives structure -> (N, pixels, pixels); {} where no field has any
    """
    folders = [Path(folder) for folder in images]
    stores = [open_masks(path) for path in masks]

    def found(obs: pd.DataFrame, field_um: float, pixels: int) -> dict[str, NDArray[np.bool_]]:
        planes = np.zeros((len(obs), len(STRUCTURES), pixels, pixels), bool)
        seen = np.zeros(len(STRUCTURES), bool)
        for field_id, rows in obs.reset_index(drop=True).groupby("field_id"):
            store = _store_with(stores, str(field_id))
            paths = [_file(folders, f"{field_id}_{name}.png") for name in STRUCTURES]
            if store is None or not any(paths):
                continue
            nuclei, cells = store.labels(str(field_id))
            drawn = [
                (read_label_image(path) > 0).astype(np.uint8) * 255 if path else np.zeros(cells.shape, np.uint8)
                for path in paths
            ]
            cut, _, _ = crop_cells(
                np.stack(drawn),
                nuclei,
                cells,
                field_px=field_size_px(field_um, float(rows["pixel_size_um"].iloc[0]), pixels),
                out_px=pixels,
                labels=rows["label"].to_numpy(int),
            )
            planes[rows.index] = cut[:, 2:] > 127
            seen |= [path is not None for path in paths]
        return {name: planes[:, number] for number, name in enumerate(STRUCTURES) if seen[number]}

    return found


def _store_with(stores: Sequence[MaskStore], field_id: str) -> MaskStore | None:
    return next((store for store in stores if field_id in store.field_ids), None)


def _file(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
