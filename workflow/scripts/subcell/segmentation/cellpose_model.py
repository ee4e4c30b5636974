"""Cellpose's own networks: loading them, and what they expect to see."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from subcell.errors import CheckpointError, SubcellError

CELLPOSE_MODELS = ("cpsam_v2", "cpsam")
CELLPOSE_TILE_PX = 256


def load_cellpose(model: str, device: torch.device, *, bf16: bool | None = None) -> torch.nn.Module:
    """Load one of Cellpose's networks by name or path.

    Parameters
    ----------
    model : "cpsam_v2" or "cpsam", downloaded by Cellpose on first use, or the path of a Cellpose model
    device : where to put it
    bf16 : weights as bfloat16; where the device computes in it when None

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
            pretrained_model=os.fspath(model),
            device=device,
            use_bfloat16=computes_in_bf16(device) if bf16 is None else bf16,
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


def computes_in_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16, and not only stores it: half the time of float32 for a transformer."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def normalise_for_cellpose(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Percentiles 1 and 99 of each channel (C, Y, X) at 0 and 1, as Cellpose's networks were trained."""
    from cellpose.transforms import normalize_img

    return np.ascontiguousarray(normalize_img(image.transpose(1, 2, 0)).transpose(2, 0, 1), np.float32)
