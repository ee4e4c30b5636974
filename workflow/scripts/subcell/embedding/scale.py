"""Pixels that are coarser than a network's: when to refuse them, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.crops.store import MASKS, CropStore
from subcell.embedding.models import Embedder, require_channels
from subcell.embedding.sampling import sample_cells
from subcell.errors import SubcellError
from subcell.tables import write_table

WARN_ABOVE, REFUSE_ABOVE = 2.0, 4.0
"""Times that a pixel of the source is larger than one of the crops."""

TOLERANCE = 1.02


def upsampling(obs: pd.DataFrame, um_per_px: float) -> NDArray[np.float64]:
    """How many times larger the source's pixels are than those of the crops; nan where the source does not say."""
    if "pixel_size_um" not in obs:
        return np.full(len(obs), np.nan)
    return pd.to_numeric(obs["pixel_size_um"], errors="coerce").to_numpy(float) / um_per_px


def require_scale(
    obs: pd.DataFrame, um_per_px: float, *, allow: bool, crops_path: str | Path, log: Callable[[str], None]
) -> None:
    """Warn of cells whose pixels were made up by interpolation, and refuse them where most were.

    Parameters
    ----------
    obs : (N, ...) table of cells with `pixel_size_um` of their field
    um_per_px : of the crops
    allow : accept any factor
    crops_path, log : for messages

    Raises
    ------
    SubcellError : a field has to be enlarged more than `REFUSE_ABOVE` times
    """
    factors = upsampling(obs, um_per_px)
    if not np.isfinite(factors).any():
        return
    worst = int(np.nanargmax(factors))
    factor = factors[worst]
    if factor <= WARN_ABOVE * TOLERANCE:
        return
    text = (
        f"{crops_path}: field {obs['field_id'].iloc[worst]!r} has pixels of {obs['pixel_size_um'].iloc[worst]:g} um and is "
        f"enlarged {factor:.1f} times to {um_per_px:.3f} um a pixel"
    )
    if factor > REFUSE_ABOVE * TOLERANCE and not allow:
        raise SubcellError(
            f"{text}; above {REFUSE_ABOVE:g} times most of what the network looks at is made up. Set `allow_upsampling: true` "
            "for this model to embed it all the same, or leave the dataset out of its `evaluate_on`"
        )
    log(f"warning: {text}; details that the network was trained on are missing")


def largest_upsampling(obs: pd.DataFrame, uns: Mapping[str, Any]) -> dict[str, float]:
    """`largest_upsampling` for `uns` of all cells, where their pixel sizes are known."""
    factors = upsampling(obs, float(uns.get("um_per_px", np.nan)))
    return {"largest_upsampling": float(np.nanmax(factors))} if np.isfinite(factors).any() else {}


def degrade(images: NDArray[Any], factor: float) -> NDArray[Any]:
    """Crops as a microscope with pixels `factor` times larger would have given them; masks stay.

    Parameters
    ----------
    images : (N, 6, H, W), masks first
    factor : at least 1
    """
    side = images.shape[-1]
    small = max(1, round(side / factor))
    out = images.copy()
    if small == side:
        return out
    for crop in out:
        for plane in crop[len(MASKS) :]:
            coarse = cv2.resize(plane, (small, small), interpolation=cv2.INTER_AREA)
            plane[:] = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR)
    return out


def write_scale_cost(
    crops: Sequence[str | Path],
    embedder: Embedder,
    out_tsv: str | Path,
    *,
    factors: Sequence[float] = (1.0, 2.0, 4.0, 7.5),
    cells: int = 64,
) -> None:
    """Measure what coarse pixels cost: embed cells as they are and degraded, and compare.

    Parameters
    ----------
    crops : crop files of a dataset
    out_tsv : table to write: factor, um_per_px of the degraded source, cosine (median over cells), cosine_low (lower
        quartile), found (share of cells whose degraded vector is nearest to their own among all cells), n
    factors : how many times larger the pixels are; 7.5 is a 20x objective against HPA's 63x
    cells : taken by a hash of their id, so that the choice does not depend on shards

    Raises
    ------
    SubcellError : the model needs a channel that a field does not have
    """
    store = CropStore(crops)
    require_channels(store.obs, embedder, Path(crops[0]).parent)
    rows = sample_cells(store.obs, cells)
    obs, images = store.obs.iloc[rows], store.read(rows)
    table = []
    whole = _unit(embedder.embed(images, obs).vectors) if len(rows) else np.zeros((0, 1))
    for factor in factors if len(rows) else ():
        coarse = _unit(embedder.embed(degrade(images, factor), obs).vectors)
        cosine = (whole * coarse).sum(axis=1)
        found = (coarse @ whole.T).argmax(axis=1) == np.arange(len(rows))
        table.append(
            {
                "factor": factor,
                "um_per_px": store.um_per_px * factor,
                "cosine": float(np.median(cosine)),
                "cosine_low": float(np.quantile(cosine, 0.25)),
                "found": float(found.mean()),
                "n": len(rows),
            }
        )
    store.close()
    columns = ["factor", "um_per_px", "cosine", "cosine_low", "found", "n"]
    write_table(pd.DataFrame(table, columns=columns), out_tsv, float_format="%.5g")


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
