"""Find nuclei and cells in fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from subcell.channels import CHANNELS
from subcell.errors import ImageError, ShapeError
from subcell.imaging.read import MAX_PIXELS
from subcell.segmentation.bodies import watershed_bodies
from subcell.segmentation.cellpose_model import CELLPOSE_TILE_PX, load_cellpose, normalise_for_cellpose
from subcell.segmentation.flows import (
    BYTES_A_PIXEL,
    batch_tiles,
    masks_from_flows,
    predict_flows,
    tile_size,
    tiles_of,
)
from subcell.segmentation.kinds import is_compact
from subcell.segmentation.network import INPUTS, load_networks
from subcell.segmentation.pairing import keep_pairs, pair
from subcell.segmentation.scaling import normalise, resize_image, resize_labels

NUCLEUS_UM = 12.0
MIN_FIELD_UM = 5.0
MAX_PIXEL_UM = NUCLEUS_UM / 4
COMPACT_WEIGHTS = Path(__file__).resolve().parents[4] / "resources" / "compact.safetensors"

DYNAMICS_STEP = 2
"""Masks are computed at half the working scale, where a nucleus is about as wide as Cellpose's 30 pixels."""

RIM_UM = {"stained": 2.5, "unstained": 5.0}
"""Width of the cytoplasm given to a nucleus whose cell was not found, with and without a stain of the cell body."""

EDGE_UM, EDGE_LOGIT = 1.0, 1.0
"""Smoothing of the foreground into which cells grow, and how far below the network's threshold it ends."""

BODY = ("microtubules", "er")
SEEN = INPUTS["cells"]
"""Channels that any network sees, in the order of `Prepared.image`."""

DILATED = "nucleus dilated"
"""What stands for the stains of the cell body where there are none."""

CellBody = Literal["network", "watershed"]


@dataclass(frozen=True)
class Prepared:
    """A field as the networks see it.

    Attributes
    ----------
    image : (3, Y, X) float32 normalised, `SEEN`
    native : height and width of the field
    coarse : those of the mask dynamics
    pixel_size_um : microns a pixel of the field
    stains : stains of the cell body that can be used
    empty : the DNA channel is constant, so there is nothing to find
    """

    image: NDArray[np.float32]
    native: tuple[int, int]
    coarse: tuple[int, int]
    pixel_size_um: float
    stains: tuple[str, ...]
    empty: bool


@dataclass(frozen=True)
class Labels:
    """Nuclei and cells of a field.

    Attributes
    ----------
    nuclei, cells : (Y, X) int32, 0 is background, the same ids in both, from 1 on; a nucleus lies in its cell
    nuclei_in_cell : (cells,) how many nuclei each cell has
    cell_body : where the outline of cells comes from: the stains, joined by "+", or `DILATED`
    """

    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    nuclei_in_cell: NDArray[np.int64]
    cell_body: str


Flows = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Of each network: flow (2, Y, X) and logit (Y, X)."""


class Segmenter:
    """Labels nuclei and cells of fields, with Cellpose's dynamics and a compact or one of Cellpose's own networks.

    The network works at a fixed pixel size, the dynamics at twice that; masks come back to the field's own pixels with
    smooth edges. Results are the same for the same input and number of threads, whatever fields share a batch.

    `prepare`, `predict` and `finish` are the three steps of a field, so that a caller can let them overlap; `segment`
    does all three.

    Parameters
    ----------
    model : "compact", "cpsam_v2" (downloads on first use), or a path: .safetensors of the compact networks, else a
        Cellpose model
    working_um_per_px : pixel size at which the network sees the field
    flow_threshold : Cellpose's flow check, objects with a larger error are dropped; 0 turns it off
    cellprob_threshold : Cellpose's probability threshold, a logit
    min_nucleus_um2, min_cell_um2 : smaller ones are dropped
    cell_body : "network", or "watershed" from the nuclei on microtubules and ER
    same_cell_um : nuclei that share a body and are no further apart are nuclei of one cell
    device : torch device

    Raises
    ------
    CheckpointError : no such weights, or not weights of a segmentation network
    SubcellError : Cellpose's model is not on this machine and cannot be downloaded
    """

    def __init__(
        self,
        model: str = "compact",
        *,
        working_um_per_px: float = 0.32,
        flow_threshold: float = 0.4,
        cellprob_threshold: float = 0.0,
        min_nucleus_um2: float = 16.0,
        min_cell_um2: float = 35.0,
        cell_body: CellBody = "network",
        same_cell_um: float = 2.0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.working_um_per_px = working_um_per_px
        self.flow_threshold = flow_threshold
        self.cellprob_threshold = cellprob_threshold
        self.min_nucleus_um2 = min_nucleus_um2
        self.min_cell_um2 = min_cell_um2
        self.cell_body = cell_body
        self.same_cell_um = same_cell_um
        self.device = torch.device(device)
        self._networks: dict[str, Any]
        if is_compact(str(model)):
            networks, _ = load_networks(COMPACT_WEIGHTS if model == "compact" else model)
            self._networks = {name: network.to(self.device) for name, network in networks.items()}
            self._cellpose = False
        else:
            self._networks = dict.fromkeys(INPUTS, load_cellpose(model, self.device))
            self._cellpose = True

    def segment(
        self, image: NDArray[Any], present: Iterable[str] = CHANNELS, pixel_size_um: float = 0.32
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Label one field; nuclei and cells of `Labels`. Parameters and errors are those of `prepare`."""
        prepared = self.prepare(image, present, pixel_size_um)
        labels = self.finish(prepared, self.predict([prepared])[0])
        return labels.nuclei, labels.cells

    def prepare(self, image: NDArray[Any], present: Iterable[str] = CHANNELS, pixel_size_um: float = 0.32) -> Prepared:
        """Bring a field to the scale and contrast that the networks expect.

        Parameters
        ----------
        image : (4, Y, X) in the order of CHANNELS
        present : channels that the field has; the others are ignored
        pixel_size_um : microns a pixel

        Raises
        ------
        ImageError : no DNA channel, pixels that are not finite, or no usable pixel size
        ShapeError : not four channels
        """
        planes, working = self._as_seen(image, set(present), pixel_size_um)
        coarse = (-(-working[0] // DYNAMICS_STEP), -(-working[1] // DYNAMICS_STEP))
        if self._cellpose:
            small = normalise_for_cellpose(resize_image(planes, coarse))
        else:
            small = normalise(resize_image(planes, working))
        stains = tuple(channel for channel in BODY if _varies(planes[SEEN.index(channel)]))
        empty = not _varies(planes[SEEN.index("nucleus")])
        return Prepared(small, (image.shape[1], image.shape[2]), coarse, pixel_size_um, stains, empty)

    def fields_a_batch(self, prepared: Prepared) -> int:
        """How many fields of this size the networks take at a time, by the memory that is free."""
        height, width = prepared.image.shape[1:]
        return max(1, self._batch_tiles(prepared) // tiles_of(height, width, self._tile_px(prepared)))

    def predict(self, fields: Sequence[Prepared]) -> list[Flows]:
        """Run the networks over fields of one size, as `fields_a_batch` says at a time."""
        flows: list[Flows] = [{} for _ in fields]
        wanted = {
            name: [number for number, field in enumerate(fields) if not field.empty and self._needs(name, field)]
            for name in INPUTS
        }
        # Cellpose's one network sees both pictures of a field in one stack, ours are two networks.
        groups = [tuple(INPUTS)] if self._cellpose else [(name,) for name in INPUTS]
        for group in groups:
            places = [(name, number) for name in group for number in wanted[name]]
            if not places:
                continue
            images = np.stack([self._picture(name, fields[number]) for name, number in places])
            tile, batch = self._tile_px(fields[0]), self._batch_tiles(fields[0])
            found, logits = predict_flows(self._networks[group[0]], images, tile_px=tile, batch_size=batch)
            for (name, number), flow, logit in zip(places, found, logits, strict=True):
                flows[number][name] = flow, logit
        return flows

    def finish(self, field: Prepared, flows: Flows) -> Labels:
        """From flows to labels of the field's own size.

        Cells come from microtubules, ER and DNA. Without both stains of the cell body, or where they are constant, a
        cell is its nucleus and a rim.
        """
        if field.empty:
            return Labels(np.zeros(field.native, np.int32), np.zeros(field.native, np.int32), np.zeros(0, np.int64), "")
        um_per_px = field.pixel_size_um * field.native[0] / field.coarse[0]
        nuclei, _ = self.masks(field, flows["nuclei"])
        if "cells" in flows:
            cells, foreground = self.masks(field, flows["cells"])
        elif field.stains:
            planes = [field.image[SEEN.index(stain)] for stain in field.stains]
            stained = resize_image(np.stack(planes), field.coarse)
            cells, foreground = watershed_bodies(nuclei, stained, um_per_px=um_per_px)
        else:
            cells, foreground = np.zeros_like(nuclei), None
        paired = pair(
            nuclei,
            cells,
            um_per_px=um_per_px,
            rim_um=RIM_UM["stained" if field.stains else "unstained"],
            foreground=foreground,
            same_cell_um=self.same_cell_um,
            min_nucleus_um2=self.min_nucleus_um2,
            min_cell_um2=self.min_cell_um2,
        )
        nuclei, cells = resize_labels(paired.nuclei, field.native), resize_labels(paired.cells, field.native)
        # Both are interpolated by themselves: where they disagree by a pixel, the nucleus decides.
        cells[nuclei > 0] = nuclei[nuclei > 0]
        pixel_um2 = field.pixel_size_um**2
        nuclei, cells, kept = keep_pairs(
            nuclei, cells, min_nucleus_px=self.min_nucleus_um2 / pixel_um2, min_cell_px=self.min_cell_um2 / pixel_um2
        )
        return Labels(nuclei, cells, paired.nuclei_in_cell[kept - 1], "+".join(field.stains) or DILATED)

    def _as_seen(
        self, image: NDArray[Any], present: set[str], pixel_size_um: float
    ) -> tuple[NDArray[Any], tuple[int, int]]:
        """Channels that the networks see, absent ones as zeros, and the size of the field at the working scale."""
        if image.ndim != 3 or len(image) != len(CHANNELS):
            raise ShapeError(f"a field must be (4, Y, X) with the channels {', '.join(CHANNELS)}, not {image.shape}")
        if "nucleus" not in present:
            raise ImageError("the field has no nucleus channel, and nuclei are where segmentation starts")
        if not (np.isfinite(pixel_size_um) and pixel_size_um > 0):
            raise ImageError(f"the pixel size is {pixel_size_um}; it must be a number of micrometres above 0")
        if min(image.shape[1:]) * pixel_size_um < MIN_FIELD_UM:
            raise ImageError(
                f"at {pixel_size_um:g} um a pixel the field is {image.shape[1] * pixel_size_um:.3g} x "
                f"{image.shape[2] * pixel_size_um:.3g} um large, less than a nucleus; check its pixel size"
            )
        factor = pixel_size_um / self.working_um_per_px
        shape = (max(2, round(image.shape[1] * factor)), max(2, round(image.shape[2] * factor)))
        if shape[0] * shape[1] > MAX_PIXELS:
            raise ImageError(
                f"at {pixel_size_um} um a pixel the field is {image.shape[1] * pixel_size_um / 1000:.1f} mm high and "
                f"{image.shape[2] * pixel_size_um / 1000:.1f} mm wide; check its pixel size, or cut it into fields"
            )
        if pixel_size_um > MAX_PIXEL_UM:
            raise ImageError(
                f"at {pixel_size_um:g} um a pixel a nucleus is {NUCLEUS_UM / pixel_size_um:.1f} pixels wide, too few to find "
                "it; check its pixel size"
            )
        planes = np.zeros((len(SEEN), *image.shape[1:]), image.dtype)
        for number, channel in enumerate(SEEN):
            if channel in present:
                planes[number] = image[CHANNELS.index(channel)]
                if planes.dtype.kind == "f" and not np.isfinite(planes[number]).all():
                    raise ImageError(f"NaN or infinite pixels in the {channel} channel")
        return planes, shape

    def network(self, name: str) -> Any:
        """The network of "nuclei" or "cells"; Cellpose has one for both."""
        return self._networks[name]

    def _needs(self, name: str, field: Prepared) -> bool:
        return name == "nuclei" or (bool(field.stains) and self.cell_body == "network")

    def _batch_tiles(self, field: Prepared) -> int:
        kind = "cellpose" if self._cellpose else "compact"
        return batch_tiles(self.device, tile_px=self._tile_px(field), bytes_a_pixel=BYTES_A_PIXEL[kind])

    def _tile_px(self, field: Prepared) -> int:
        height, width = field.image.shape[1:]
        return CELLPOSE_TILE_PX if self._cellpose else tile_size(height, width)

    def _picture(self, name: str, field: Prepared) -> NDArray[np.float32]:
        picture = field.image[[SEEN.index(channel) for channel in INPUTS[name]]]
        if self._cellpose and len(picture) < len(SEEN):
            # Cellpose's networks take three channels.
            picture = np.concatenate([picture, np.zeros((len(SEEN) - len(picture), *picture.shape[1:]), np.float32)])
        return picture

    def masks(
        self, field: Prepared, found: tuple[NDArray[np.float32], NDArray[np.float32]]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Labels of nuclei or cells before they are matched, and the foreground, at the scale of the dynamics."""
        reduced = resize_image(np.concatenate([found[0], found[1][None]]), field.coarse)
        flows, logit = reduced[:2], reduced[2]
        masks = masks_from_flows(
            flows,
            logit,
            flow_threshold=self.flow_threshold,
            cellprob_threshold=self.cellprob_threshold,
            device=self.device,
        )
        # The network's edge follows every gap in a stain; a cell's does not.
        sigma_px = EDGE_UM / (field.pixel_size_um * field.native[0] / field.coarse[0])
        smooth = ndimage.gaussian_filter(np.clip(logit, -4, 4), sigma_px)
        return masks, smooth > self.cellprob_threshold - EDGE_LOGIT


def _varies(plane: NDArray[Any]) -> bool:
    return bool(plane.size) and plane.max() > plane.min()
