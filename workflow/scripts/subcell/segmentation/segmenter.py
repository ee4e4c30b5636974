"""Find nuclei and cells in one field."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from subcell.channels import CHANNELS
from subcell.errors import CheckpointError, ImageError, ShapeError, SubcellError
from subcell.imaging.read import MAX_PIXELS
from subcell.segmentation.flows import masks_from_flows, predict_flows
from subcell.segmentation.network import INPUTS, load_networks
from subcell.segmentation.pairing import keep_pairs, pair
from subcell.segmentation.scaling import normalise, resize_image, resize_labels

COMPACT_WEIGHTS = Path(__file__).resolve().parents[4] / "resources" / "compact.safetensors"
CELLPOSE_MODELS = ("cpsam_v2", "cpsam")
CELLPOSE_TILE_PX = 256

DYNAMICS_STEP = 2
"""Masks are computed at half the working scale, where a nucleus is about as wide as Cellpose's 30 pixels."""

RIM_UM = {"stained": 2.5, "unstained": 5.0}
"""Width of the cytoplasm given to a nucleus whose cell was not found, with and without a stain of the cell body."""

BODY = ("microtubules", "er")


class Segmenter:
    """Labels nuclei and cells of a field, with Cellpose's dynamics and a compact or one of Cellpose's own networks.

    The network works at a fixed pixel size, the dynamics at twice that; masks come back to the field's own pixels with
    smooth edges. Results are the same for the same input and number of threads.

    Parameters
    ----------
    model : "compact", "cpsam_v2" (downloads on first use), or a path: .safetensors of the compact networks, else a
        Cellpose model
    working_um_per_px : pixel size at which the network sees the field
    flow_threshold : Cellpose's flow check, objects with a larger error are dropped; 0 turns it off
    cellprob_threshold : Cellpose's probability threshold, a logit
    min_nucleus_um2, min_cell_um2 : smaller ones are dropped
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
        device: str | torch.device = "cpu",
    ) -> None:
        self.working_um_per_px = working_um_per_px
        self.flow_threshold = flow_threshold
        self.cellprob_threshold = cellprob_threshold
        self.min_nucleus_um2 = min_nucleus_um2
        self.min_cell_um2 = min_cell_um2
        self.device = torch.device(device)
        self._networks: dict[str, Any]
        if model == "compact" or str(model).endswith(".safetensors"):
            networks, _ = load_networks(COMPACT_WEIGHTS if model == "compact" else model)
            self._networks = {name: network.to(self.device) for name, network in networks.items()}
            self._cellpose = False
        else:
            self._networks = dict.fromkeys(INPUTS, load_cellpose(model, self.device))
            self._cellpose = True

    def segment(
        self, image: NDArray[Any], present: Iterable[str] = CHANNELS, pixel_size_um: float = 0.32
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Label one field.

        Nuclei come from the DNA channel, cells from microtubules, ER and DNA. Without both stains of the cell body,
        or where they are constant, a cell is its nucleus and a rim.

        Parameters
        ----------
        image : (4, Y, X) in the order of CHANNELS
        present : channels that the field has; the others are ignored
        pixel_size_um : microns a pixel

        Returns
        -------
        nuclei, cells : (Y, X) int32, 0 is background, the same ids in both, from 1 on; a nucleus lies in its cell

        Raises
        ------
        ImageError : no DNA channel, pixels that are not finite, or no usable pixel size
        ShapeError : not four channels
        """
        seen, working = self._as_seen(image, set(present), pixel_size_um)
        native = (image.shape[1], image.shape[2])
        if not _varies(seen["nucleus"]):
            return np.zeros(native, np.int32), np.zeros(native, np.int32)
        stained = any(_varies(seen[channel]) for channel in BODY)
        coarse = (-(-working[0] // DYNAMICS_STEP), -(-working[1] // DYNAMICS_STEP))
        nuclei, _ = self._find("nuclei", seen, working, coarse)
        cells, foreground = self._find("cells", seen, working, coarse) if stained else (np.zeros_like(nuclei), None)
        nuclei, cells = pair(
            nuclei,
            cells,
            um_per_px=pixel_size_um * native[0] / coarse[0],
            rim_um=RIM_UM["stained" if stained else "unstained"],
            foreground=foreground,
            min_nucleus_um2=self.min_nucleus_um2,
            min_cell_um2=self.min_cell_um2,
        )
        nuclei, cells = resize_labels(nuclei, native), resize_labels(cells, native)
        # Both are interpolated by themselves: where they disagree by a pixel, the nucleus decides.
        cells[nuclei > 0] = nuclei[nuclei > 0]
        pixel_um2 = pixel_size_um**2
        return keep_pairs(
            nuclei, cells, min_nucleus_px=self.min_nucleus_um2 / pixel_um2, min_cell_px=self.min_cell_um2 / pixel_um2
        )

    def _as_seen(
        self, image: NDArray[Any], present: set[str], pixel_size_um: float
    ) -> tuple[dict[str, NDArray[Any]], tuple[int, int]]:
        """Channels that the networks see, absent ones as zeros, and the size of the field at the working scale."""
        if image.ndim != 3 or len(image) != len(CHANNELS):
            raise ShapeError(f"a field must be (4, Y, X) with the channels {', '.join(CHANNELS)}, not {image.shape}")
        if "nucleus" not in present:
            raise ImageError("the field has no nucleus channel, and nuclei are where segmentation starts")
        if not (np.isfinite(pixel_size_um) and pixel_size_um > 0):
            raise ImageError(f"the pixel size is {pixel_size_um}; it must be a number of micrometres above 0")
        factor = pixel_size_um / self.working_um_per_px
        shape = (max(2, round(image.shape[1] * factor)), max(2, round(image.shape[2] * factor)))
        if shape[0] * shape[1] > MAX_PIXELS:
            raise ImageError(
                f"at {pixel_size_um} um a pixel the field is {image.shape[1] * pixel_size_um / 1000:.1f} mm high and "
                f"{image.shape[2] * pixel_size_um / 1000:.1f} mm wide; check its pixel size, or cut it into fields"
            )
        seen = {}
        for number, channel in enumerate(CHANNELS):
            if channel in INPUTS["cells"]:
                plane = image[number] if channel in present else np.zeros_like(image[number])
                if plane.dtype.kind == "f" and not np.isfinite(plane).all():
                    raise ImageError(f"NaN or infinite pixels in the {channel} channel")
                seen[channel] = plane
        return seen, shape

    def _find(
        self, name: str, seen: dict[str, NDArray[Any]], working: tuple[int, int], coarse: tuple[int, int]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Labels of nuclei or cells before they are matched, and the foreground, at the scale of the dynamics."""
        planes = np.stack([seen[channel] for channel in INPUTS[name]])
        if self._cellpose:
            flows, logit = predict_flows(
                self._networks[name], _for_cellpose(resize_image(planes, coarse)), tile_px=CELLPOSE_TILE_PX
            )
        else:
            flows, logit = predict_flows(self._networks[name], normalise(resize_image(planes, working)))
            reduced = resize_image(np.concatenate([flows, logit[None]]), coarse)
            flows, logit = reduced[:2], reduced[2]
        masks = masks_from_flows(
            flows,
            logit,
            flow_threshold=self.flow_threshold,
            cellprob_threshold=self.cellprob_threshold,
            device=self.device,
        )
        return masks, logit > self.cellprob_threshold


def load_cellpose(model: str, device: torch.device) -> torch.nn.Module:
    """Load one of Cellpose's networks by name or path.

    Parameters
    ----------
    model : "cpsam_v2" or "cpsam", downloaded by Cellpose on first use, or the path of a Cellpose model
    device : where to put it

    Raises
    ------
    CheckpointError : no such file, or not a Cellpose model
    SubcellError : the model has to be downloaded and cannot be
    """
    # Cellpose takes a path that does not exist for a wish to download its default model.
    if model not in CELLPOSE_MODELS and not Path(model).is_file():
        raise CheckpointError(
            f"{model}: no such segmentation model; give the path of a file, compact, or {' or '.join(CELLPOSE_MODELS)}"
        )
    import ssl

    from cellpose import models

    cached = Path(models.MODEL_DIR) / model
    # Cellpose's download turns the verification of certificates off for the whole process.
    context = ssl._create_default_https_context
    try:
        loaded = models.CellposeModel(
            pretrained_model=os.fspath(model), device=device, use_bfloat16=device.type == "cuda"
        )
    except Exception as error:  # urllib, ssl, pickle, zip and torch errors, and KeyErrors of other files
        if model in CELLPOSE_MODELS and not cached.exists():
            raise SubcellError(
                f"the Cellpose model {model} is not in {cached.parent} and cannot be downloaded ({error}); "
                f"copy the file there, or use the model compact, which needs no download"
            ) from error
        first_line = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{model}: not a Cellpose model that can be loaded ({first_line})") from error
    finally:
        ssl._create_default_https_context = context
    return loaded.net.eval()


def _for_cellpose(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Three channels, percentiles 1 and 99 at 0 and 1, as Cellpose's own networks were trained."""
    from cellpose.transforms import normalize_img

    result = np.zeros((3, *image.shape[1:]), np.float32)
    result[: len(image)] = normalize_img(image.transpose(1, 2, 0)).transpose(2, 0, 1)
    return result


def _varies(plane: NDArray[Any]) -> bool:
    return bool(plane.size) and plane.max() > plane.min()
