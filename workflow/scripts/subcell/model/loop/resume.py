"""Where a training stands, kept so that a killed run goes on as if nothing had happened.

It stays after the end: a training that outlived Snakemake counts as unfinished, and its outputs are written again from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import torch

from subcell.crops.store import IMAGES, content_sha256
from subcell.errors import CheckpointError

STATE_FILE = "last.ckpt"


def fingerprint(settings: Mapping[str, Any], cells: list[str], data: str) -> str:
    """What must be the same for a run to go on: settings, cells, their pixels and the code of this folder.

    Parameters
    ----------
    settings : plain values
    cells : ids of the cells that are trained on, in order
    data : hash of the crops, see `data_sha256`
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update("\0".join([*cells, data]).encode())
    for module in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def data_sha256(crop_paths: Sequence[str | Path]) -> str:
    """Hash of the content of some crop files, in any order, from the hash that each brings."""
    hashes = []
    for path in crop_paths:
        with h5py.File(path, "r") as file:
            brought = file[IMAGES].attrs.get("content_sha256")
        hashes.append(str(brought) if brought else content_sha256(path))
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def save_state(folder: str | Path, state: Mapping[str, Any]) -> None:
    """Write the state; a kill while writing leaves the one before."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{STATE_FILE}.partial"
    with partial.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / STATE_FILE)


def load_state(folder: str | Path, expected: str) -> dict[str, Any] | None:
    """The state of a run with that fingerprint, None where there is none or it is of another run.

    Parameters
    ----------
    folder : where `save_state` wrote
    expected : fingerprint of the present run

    Raises
    ------
    CheckpointError : the file is damaged
    """
    path = Path(folder) / STATE_FILE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as problem:
        raise CheckpointError(f"{path}: damaged ({problem}); delete it to train from the beginning") from None
    return state if state["fingerprint"] == expected else None
