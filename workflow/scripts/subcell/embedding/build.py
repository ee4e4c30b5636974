"""From a block of the configuration to the network that it describes, with its inputs and its weights."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from subcell import __version__
from subcell.catalog.fields import read_fields, shared_channels
from subcell.catalog.released import CHANNEL_SETS, RELEASED_UM_PER_PX, location_names, weight_files
from subcell.channels import CHANNELS
from subcell.crops.store import CropStore
from subcell.embedding.models import require_checkpoint
from subcell.embedding.network import NetworkEmbedder, SubcellNetwork, passes, substitutions
from subcell.errors import CheckpointError, ConfigError
from subcell.hashing import sha256_of
from subcell.model.network.encoder import build_encoder
from subcell.model.weights.checkpoint import SCALE_TOLERANCE, load_encoder
from subcell.model.weights.released import LocationHeads, load_location_heads, load_released


def build_network(
    name: str,
    settings: Mapping[str, Any],
    *,
    store: CropStore,
    fields: Sequence[str | Path],
    checkpoint: Any,
    device: str,
    attention: bool,
    log: Callable[[str], None],
) -> NetworkEmbedder:
    """See `subcell.embedding.kinds.build_embedder`; `store` holds crops of the dataset."""
    if checkpoint and not isinstance(checkpoint, str | Path):
        checkpoint = _fitting(name, [Path(path) for path in checkpoint], fields, store, log)
    make = {
        "subcell": _subcell,
        "random_vit": _random_vit,
        "dino4cells": _dino4cells,
        "bestfitting": _bestfitting,
        "timm": _timm,
    }[settings["kind"]]
    found = make(name, settings, store, checkpoint)
    inputs = passes(
        found["channels"],
        channel_map=settings.get("channel_map"),
        proteins=settings.get("proteins") or (),
        masked=settings.get("masked", True),
        **found.get("inputs", {}) | ({"scaling": settings["scaling"]} if settings.get("scaling") else {}),
    )
    read = {channel for one in inputs for channel in one.channels}
    description = {
        "kind": settings["kind"],
        "checkpoint_sha256": "",
        **found["description"],
        "network_channels": ";".join(found["channels"]),
        "channels_replaced": substitutions(found["channels"], inputs),
        "passes": len(inputs),
        "versions": f"subcell {__version__}, torch {torch.__version__}, timm {importlib.metadata.version('timm')}",
    }
    return NetworkEmbedder(
        name,
        found["network"],
        inputs=inputs,
        description=description,
        requires=tuple(channel for channel in CHANNELS if channel in read) if found["strict"] else (),
        heads=found.get("heads"),
        classes=found.get("classes", ()),
        attention=attention,
        device=device,
        precision=_precision(settings.get("precision", "32"), device),
        compiled=settings.get("compile", False),
    )


def _precision(asked: str, device: str) -> str:
    """`auto` takes bfloat16 where a GPU computes in it; on a processor it is slower than float32 more often than not."""
    if asked != "auto":
        return asked
    return "bf16" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "32"


def _random_vit(name: str, settings: Any, store: CropStore, checkpoint: Any) -> dict[str, Any]:
    encoder = build_encoder(
        size=settings["size"],
        in_channels=len(CHANNELS),
        image_px=store.pixels,
        positions="learned",
        pooling=True,
        seed=settings["seed"],
    )
    return {
        "network": SubcellNetwork(encoder),
        "channels": CHANNELS,
        "strict": False,
        "description": {"size": settings["size"], "seed": settings["seed"]},
    }


def _subcell(name: str, settings: Any, store: CropStore, checkpoint: Any) -> dict[str, Any]:
    path = Path(require_checkpoint(name, checkpoint))
    if path.is_dir():
        return _released(path, settings, store)
    if path.suffix == ".safetensors":
        encoder, config = load_encoder(path)
        _require_scale(
            path, store, [config.get("um_per_px", store.um_per_px * store.pixels / config["image_px"])], config
        )
    else:
        encoder, config = load_released(path)
        _require_scale(path, store, RELEASED_UM_PER_PX, config)
    channels = config.get("channels") or CHANNELS
    if config["in_channels"] != len(channels):
        raise CheckpointError(
            f"{path} takes {config['in_channels']} channels; expected {len(channels)}: {', '.join(channels)}"
        )
    classifiers = settings.get("classifiers") or []
    return {
        "network": SubcellNetwork(encoder),
        "channels": tuple(channels),
        "strict": not config.get("dropped_channels"),
        **_heads(classifiers, path),
        "inputs": {"scaling": config.get("scaling", "minmax")},
        "description": {
            "checkpoint_sha256": sha256_of(path),
            "recipe": str(config.get("recipe", "")),
            "size": str(config.get("size", "")),
        },
    }


def _released(folder: Path, settings: Any, store: CropStore) -> dict[str, Any]:
    """A network as `subcell.sources.weights` brings it: a folder named as released, with its classifiers."""
    encoder, config = load_released(folder / "encoder.pth")
    channels = CHANNEL_SETS[folder.name.rpartition("_")[0]]
    if config["in_channels"] != len(channels):
        raise CheckpointError(f"{folder}: the network takes {config['in_channels']} channels, not {len(channels)}")
    _require_scale(folder, store, RELEASED_UM_PER_PX, config)
    classifiers = settings.get("classifiers") or sorted(folder.glob("location_*.pth"))
    return {
        "network": SubcellNetwork(encoder),
        "channels": channels,
        # Trained with channels left out too, but never evaluated so: the fitting network is better.
        "strict": True,
        **_heads(classifiers, folder),
        "description": {
            "checkpoint_sha256": sha256_of(folder / "encoder.pth"),
            "recipe": settings.get("recipe", ""),
            "size": "base",
            "released": folder.name,
            "licence": weight_files(folder.name)[0].licence,
        },
    }


def _fitting(
    name: str,
    folders: Sequence[Path],
    fields: Sequence[str | Path],
    store: CropStore,
    log: Callable[[str], None],
) -> Path:
    """Of several released networks, the one with most channels among those that all fields of the dataset have."""
    if len(folders) == 1:
        return folders[0]
    if fields:
        present = set(shared_channels(read_fields(fields)))
    else:
        present = set(CHANNELS)
        for channels in store.obs["channels"].dropna().unique():
            present &= set(str(channels).split(";"))
    fitting = [folder for folder in folders if set(CHANNEL_SETS[folder.name.rpartition("_")[0]]) <= present]
    if not fitting:
        raise CheckpointError(
            f"model {name!r}: no released network works with {', '.join(sorted(present)) or 'no channel'} alone; nucleus "
            "and protein are the least. `channel_map` lets another stain stand in"
        )
    chosen = max(fitting, key=lambda folder: len(CHANNEL_SETS[folder.name.rpartition("_")[0]]))
    log(f"{name}: the channels {', '.join(c for c in CHANNELS if c in present)} fit {chosen.name}")
    return chosen


def _heads(classifiers: Sequence[str | Path], path: Path) -> dict[str, Any]:
    if not classifiers:
        return {}
    heads: LocationHeads = load_location_heads(classifiers)
    names = location_names()
    if heads.classes != len(names):
        names = [f"class {number}" for number in range(heads.classes)]
    return {"heads": heads, "classes": names}


def _require_scale(path: Path, store: CropStore, known_um: Sequence[float], config: Mapping[str, Any]) -> None:
    # A network reads crops of another side by interpolating its positions, but cells twice as large are new to it.
    if not any(abs(um / store.um_per_px - 1) <= SCALE_TOLERANCE for um in known_um):
        known = " or ".join(f"{um:.3f}" for um in known_um)
        raise CheckpointError(
            f"{path} was trained on crops of {config['image_px']} px at {known} um a pixel, these have "
            f"{store.pixels} px at {store.um_per_px:.3f} um; set `crops.field_um` and `crops.pixels` to the same um a pixel"
        )


def _dino4cells(name: str, settings: Any, store: CropStore, checkpoint: Any) -> dict[str, Any]:
    from subcell.embedding import timm_network

    path = require_checkpoint(name, checkpoint)
    network, more = timm_network.dino4cells(path, image_px=store.pixels)
    return {
        "network": network,
        "channels": timm_network.DINO4CELLS_CHANNELS,
        "strict": True,
        "inputs": more,
        "description": {
            "checkpoint_sha256": sha256_of(path),
            "licence": weight_files("dino4cells_single_cell")[0].licence,
        },
    }


def _bestfitting(name: str, settings: Any, store: CropStore, checkpoint: Any) -> dict[str, Any]:
    from subcell.embedding import bestfitting

    path = require_checkpoint(name, checkpoint)
    network: nn.Module = bestfitting.load_bestfitting(path)
    return {
        "network": network,
        "channels": bestfitting.BESTFITTING_CHANNELS,
        "strict": True,
        "inputs": {
            "scaling": "type",
            "pixels": bestfitting.IMAGE_PX,
            "box_margin_px": bestfitting.MARGIN_UM / store.um_per_px,
        },
        "description": {"checkpoint_sha256": sha256_of(path), "licence": weight_files("bestfitting")[0].licence},
    }


def _timm(name: str, settings: Any, store: CropStore, checkpoint: Any) -> dict[str, Any]:
    from subcell.embedding import timm_network

    if settings.get("pretrained") and checkpoint:
        raise ConfigError(f"model {name!r}: give either `pretrained: true` or `checkpoint`")
    network, more = timm_network.any_network(
        settings["architecture"],
        channels=settings.get("channels", "repeat"),
        image_px=settings.get("image_px") or store.pixels,
        pretrained=settings.get("pretrained", False),
        checkpoint=checkpoint,
        seed=settings.get("seed", 42),
    )
    return {
        "network": network,
        "channels": CHANNELS,
        "strict": False,
        "inputs": more,
        "description": {
            "checkpoint_sha256": sha256_of(checkpoint) if checkpoint else "",
            "architecture": settings["architecture"],
            "pretrained": settings.get("pretrained", False),
        },
    }
