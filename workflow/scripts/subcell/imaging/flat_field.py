"""Flat fields of a dataset's plates, estimated by BaSiC from the fields themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.channels import CHANNELS
from subcell.errors import ImageError
from subcell.imaging.camera import NO_CORRECTION, Camera, flat_field_name
from subcell.imaging.ledger import read_ledger
from subcell.imaging.read import read_field
from subcell.tables import write_table

FEWEST_FIELDS, MOST_FIELDS = 16, 256
"""BaSiC separates light from cells by what fields have in common; more than so many add time and nothing else."""

SIDE_PX = 256
"""Illumination varies slowly: BaSiC itself works on 128 pixels."""

PLATE_COLUMNS = ("plate", "channel", "fields", "estimated", "darkest", "brightest")

Progress = Callable[[Iterable[Any]], Iterable[Any]]
Log = Callable[[str], None]


def estimate_flat_fields(
    images_dirs: Sequence[str | Path],
    fields: pd.DataFrame,
    out_dir: str | Path,
    *,
    camera: Camera = NO_CORRECTION,
    progress: Progress | None = None,
    log: Log = print,
) -> pd.DataFrame:
    """Estimate the gain of every plate and channel and write it as `<plate>/<channel>.tif`.

    BaSiC: Peng et al., Nature Communications 2017. The basicpy package does the work. The camera's offset is subtracted
    first, as it will be from the fields that the gain is for: it is added behind the lens, and no light makes it uneven.

    Parameters
    ----------
    images_dirs : image folders of all shards
    fields : table of fields of all shards
    out_dir : folder to write: gains with a mean of 1, float32 of `SIDE_PX` pixels a side, or of one pixel where a plate
        stays as it is, with fewer usable fields than `FEWEST_FIELDS` or no light at some place; and `plates.tsv`
    camera : its offset is subtracted; its other corrections do not matter here
    progress : wraps the loop over plates
    log : called with a line for every plate and channel that stays as it is

    Returns
    -------
    DataFrame with `PLATE_COLUMNS`: usable fields, whether a gain was estimated, and its ends
    """
    import tifffile

    offset_only = Camera(offset=camera.offset)
    ledgers = [(str(folder), read_ledger(folder)) for folder in images_dirs]
    folders = {field_id: (folder, ledger) for folder, ledger in ledgers for field_id in ledger["field_id"].unique()}
    here = fields[fields["field_id"].isin(folders.keys())].sort_values("field_id")
    plates = list(here.groupby(here["plate"].fillna(""))["field_id"])
    rows: list[tuple[Any, ...]] = []
    for plate, field_ids in progress(plates) if progress else plates:
        planes: dict[str, list[NDArray[np.float32]]] = {}
        for field_id in field_ids.iloc[:: -(-len(field_ids) // MOST_FIELDS)]:
            try:
                image, present = read_field(*folders[field_id], field_id)
            except ImageError:
                continue  # segmentation sets it aside and says why
            image, _ = offset_only.correct(image, present)
            for channel in present:
                planes.setdefault(channel, []).append(_small(image[CHANNELS.index(channel)]))
        for channel, stack in sorted(planes.items()):
            gain, problem = _gain(stack)
            path = Path(out_dir) / flat_field_name(plate or None, channel)
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, gain)
            rows.append((plate, channel, len(stack), not problem, float(gain.min()), float(gain.max())))
            if problem:
                log(f"plate {plate or 'without name'}, {channel}: {problem}; it stays as it is")
    table = pd.DataFrame(rows, columns=list(PLATE_COLUMNS))
    write_table(table, Path(out_dir) / "plates.tsv", float_format="%.4g")
    return table


def flat_field(planes: NDArray[np.floating]) -> NDArray[np.float32]:
    """Gain (Y, X) around 1 that a stack of fields (N, Y, X) has in common."""
    from basicpy import BaSiC

    basic = BaSiC(get_darkfield=False)
    basic.fit(planes)
    gain: NDArray[Any] = cv2.resize(
        np.asarray(basic.flatfield, np.float32), planes.shape[:0:-1], interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(gain / gain.mean(), np.float32)


def _gain(stack: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], str]:
    """The gain of some fields, or a single 1 and why."""
    unchanged = np.ones((1, 1), np.float32)
    if len(stack) < FEWEST_FIELDS:
        return unchanged, f"{len(stack)} fields are too few to estimate the illumination ({FEWEST_FIELDS} at least)"
    gain = flat_field(np.stack(stack))
    if not np.isfinite(gain).all() or gain.min() <= 0:
        return unchanged, "the estimated illumination has places without light"
    return gain, ""


def _small(plane: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(
        cv2.resize(plane.astype(np.float32), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.float32
    )
