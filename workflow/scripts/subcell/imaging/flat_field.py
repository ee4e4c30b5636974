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
from subcell.imaging.camera import flat_field_name
from subcell.imaging.ledger import read_ledger
from subcell.imaging.read import read_plane

FEWEST_FIELDS, MOST_FIELDS = 16, 256
"""BaSiC separates light from cells by what fields have in common; more than so many add time and nothing else."""

SIDE_PX = 256
"""Illumination varies slowly: BaSiC itself works on 128 pixels."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def estimate_flat_fields(
    images_dirs: Sequence[str | Path], fields: pd.DataFrame, out_dir: str | Path, *, progress: Progress | None = None
) -> None:
    """Estimate the gain of every plate and channel and write it as `<plate>/<channel>.tif`.

    BaSiC: Peng et al., Nature Communications 2017. The basicpy package does the work.

    Parameters
    ----------
    images_dirs : image folders of all shards
    fields : table of fields of all shards
    out_dir : folder to write; gains are float32 of `SIDE_PX` pixels a side, with a mean of 1
    progress : wraps the loop over plates and channels

    Raises
    ------
    ImageError : a plate with fewer usable fields than `FEWEST_FIELDS`
    """
    import tifffile

    plates = fields.assign(plate=fields["plate"].fillna("")).set_index("field_id")["plate"]
    files = pd.concat([read_ledger(folder).assign(folder=str(folder)) for folder in images_dirs])
    files = files[(files["status"] == "ok") & files["channel"].isin(CHANNELS)].assign(
        plate=files["field_id"].map(plates)
    )
    groups = list(files.dropna(subset="plate").groupby(["plate", "channel"], sort=True))
    for (plate, channel), rows in progress(groups) if progress else groups:
        if len(rows) < FEWEST_FIELDS:
            raise ImageError(
                f"plate {plate or 'without name'}, {channel}: {len(rows)} fields are too few to estimate a flat field "
                f"({FEWEST_FIELDS} at least); set camera.flat_field to false"
            )
        chosen = rows.sort_values("field_id").iloc[:: -(-len(rows) // MOST_FIELDS)]
        planes = [_small(Path(row.folder) / row.file, row.plane_of_file) for row in _named(chosen)]
        path = Path(out_dir) / flat_field_name(plate or None, channel)
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, flat_field(np.stack(planes)))


def flat_field(planes: NDArray[np.floating]) -> NDArray[np.float32]:
    """Gain (Y, X) around 1 that a stack of fields (N, Y, X) has in common."""
    from basicpy import BaSiC

    basic = BaSiC(get_darkfield=False)
    basic.fit(planes)
    gain: NDArray[Any] = cv2.resize(
        np.asarray(basic.flatfield, np.float32), planes.shape[:0:-1], interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(gain / gain.mean(), np.float32)


def _named(rows: pd.DataFrame) -> Iterable[Any]:
    return rows.rename(columns={"plane": "plane_of_file"}).itertuples(index=False)


def _small(path: Path, plane: str) -> NDArray[np.float32]:
    image = read_plane(path, plane).astype(np.float32)
    return np.asarray(cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.float32)
