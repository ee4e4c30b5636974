"""From a network to masks with Cellpose's own tiling and dynamics."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from cellpose.core import run_net
from cellpose.dynamics import compute_masks, flow_error
from numpy.typing import NDArray
from scipy import ndimage

from subcell.segmentation.network import SIZE_MULTIPLE_PX

SMALLEST_TILE_PX, LARGEST_TILE_PX = 224, 1056
TILE_OVERLAP = 0.1
BYTES_A_PIXEL = {"compact": 600, "cellpose": 4000}
"""Memory that the networks need for a pixel of their input, weights aside; generous, for a GPU that others use too."""

CPU_TILES, MOST_TILES = 2, 256

CHECK_EXTENT_PX = 25
"""Size to which objects shrink for the flow check; its cost grows with the third power of their size."""


def tile_size(height: int, width: int) -> int:
    """Side of the square tiles with which Cellpose computes the fewest pixels, its padding counted.

    Tiles are no larger than `LARGEST_TILE_PX`, so that the memory of a large field stays bounded.
    """

    def computed_px(tile: int) -> int:
        return tiles_of(height, width, tile) * tile**2

    return min(range(SMALLEST_TILE_PX, LARGEST_TILE_PX + 1, SIZE_MULTIPLE_PX), key=computed_px)


def tiles_of(height: int, width: int, tile_px: int) -> int:
    """Tiles into which Cellpose cuts an image of this size."""
    tiles = 1
    for side in (height, width):
        padded = _padded(side, tile_px)
        tiles *= 1 if padded <= tile_px else int(np.ceil((1 + 2 * TILE_OVERLAP) * padded / tile_px))
    return tiles


def _padded(side: int, tile_px: int) -> int:
    # As in cellpose.transforms.get_pad_yx: at least 16 pixels are added.
    return max(tile_px, side + 16) if side < tile_px else -(-side // 16) * 16 + 16


def batch_tiles(device: torch.device, *, tile_px: int, bytes_a_pixel: int) -> int:
    """Tiles that a device works on at a time: half of a GPU's free memory, two on a CPU.

    On a CPU more tiles cost memory and time: their activations no longer fit its caches.

    Parameters
    ----------
    device : where the network is
    tile_px : side of a tile
    bytes_a_pixel : memory that the network needs for a pixel of its input, see `BYTES_A_PIXEL`
    """
    if device.type != "cuda":
        return CPU_TILES
    free, _ = torch.cuda.mem_get_info(device)
    return int(np.clip(free // 2 // (bytes_a_pixel * tile_px**2), 1, MOST_TILES))


def predict_flows(
    network: Any, images: NDArray[np.float32], *, tile_px: int | None = None, batch_size: int = CPU_TILES
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run a network over images of one size in tiles; tiles of several images share a batch.

    Parameters
    ----------
    network : Cellpose network or one like it
    images : (N, C, Y, X) normalised
    tile_px : side of the tiles; the cheapest one when None
    batch_size : tiles at a time; one where memory does not suffice

    Returns
    -------
    flows : (N, 2, Y, X) five times the unit flow along y and x
    logit : (N, Y, X) of lying in an object
    """
    tile_px = tile_px or tile_size(*images.shape[2:])
    y = None
    while y is None:
        try:
            with _quiet():
                y, _ = run_net(
                    network,
                    np.ascontiguousarray(images.transpose(0, 2, 3, 1)),
                    batch_size=batch_size,
                    tile_overlap=TILE_OVERLAP,
                    bsize=tile_px,
                )
        except (MemoryError, RuntimeError) as error:
            # Another process may have taken what was free.
            if batch_size == 1 or not is_out_of_memory(error):
                raise
            batch_size //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    planes = np.ascontiguousarray(y.transpose(0, 3, 1, 2), np.float32)
    return planes[:, -3:-1], planes[:, -1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Cellpose logs a progress bar of its own for every stack of images."""
    logger = logging.getLogger("cellpose.core")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that there is not enough memory, of this machine or of its GPU."""
    # Torch has a class of its own for GPUs only.
    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in said or "bad alloc" in said


def masks_from_flows(
    flows: NDArray[np.float32],
    logit: NDArray[np.float32],
    *,
    flow_threshold: float,
    cellprob_threshold: float,
    device: torch.device,
    steps: int = 200,
) -> NDArray[np.int32]:
    """Follow the flows to the objects' centres, and drop objects whose shape contradicts the flows.

    Parameters
    ----------
    flows : (2, Y, X) as `predict_flows` gives them
    logit : (Y, X)
    flow_threshold : largest mean squared difference between the predicted flow and that of the mask; 0 turns it off
    cellprob_threshold : logit from which on a pixel belongs to an object
    device : where the dynamics run
    steps : of the dynamics, a pixel each

    Returns
    -------
    (Y, X) int32 labels, numbered from 1
    """
    if min(logit.shape) < 2 or not (logit > cellprob_threshold).any():
        return np.zeros(logit.shape, np.int32)
    # Cellpose builds sparse tensors of valid indices; saying so keeps torch from warning about it in every log.
    with torch.sparse.check_sparse_tensor_invariants(False):
        masks = compute_masks(
            flows,
            logit,
            niter=steps,
            cellprob_threshold=cellprob_threshold,
            flow_threshold=0,
            max_size_fraction=1.0,
            device=device,
        ).astype(np.int32)
    if flow_threshold > 0:
        masks = drop_inconsistent(masks, flows, threshold=flow_threshold, device=device)
    return masks


def drop_inconsistent(
    masks: NDArray[np.int32], flows: NDArray[np.float32], *, threshold: float, device: torch.device
) -> NDArray[np.int32]:
    """Cellpose's flow check, on objects shrunk to about `CHECK_EXTENT_PX`.

    Flows are directions, which do not depend on scale, but the diffusion that gives a mask's flow takes steps in
    proportion to the largest object for every pixel: at full size it costs ten times as much as all else together.

    Returns
    -------
    labels without the objects whose flow error is above the threshold, numbered from 1
    """
    windows = [window for window in ndimage.find_objects(masks) if window is not None]
    if not windows:
        return masks
    extent = max(max(side.stop - side.start for side in window) for window in windows)
    step = max(1, round(extent / CHECK_EXTENT_PX))
    start = step // 2
    ids, small = np.unique(masks[start::step, start::step], return_inverse=True)
    small = small.reshape(masks[start::step, start::step].shape)
    if ids[0] != 0:
        ids, small = np.concatenate([[0], ids]), small + 1
    if len(ids) == 1:
        return masks
    errors, _ = flow_error(small.astype(np.int32), flows[:, start::step, start::step], device=device)
    lookup = np.arange(masks.max() + 1)
    lookup[ids[1:][errors > threshold]] = 0
    kept = np.unique(lookup)
    return np.searchsorted(kept, lookup).astype(np.int32)[masks]
