"""The kinds of models that there are, and the embedder that a block of the configuration describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from subcell.crops.store import CropStore
from subcell.embedding.models import Embedder
from subcell.errors import ConfigError

NETWORKS = ("subcell", "random_vit", "dino4cells", "bestfitting", "timm")
KINDS = (*NETWORKS, "handcrafted", "shortcuts")


def build_embedder(
    name: str,
    settings: Mapping[str, Any],
    *,
    crops: str | Path,
    fields: Sequence[str | Path] = (),
    checkpoint: str | Path | Sequence[str | Path] | None = None,
    device: str = "cpu",
    attention: bool | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Embedder:
    """Make the embedder that a block of `models:` in the configuration describes.

    Parameters
    ----------
    name : key of the block
    settings : the block: `kind`, and what it needs
    crops : one crop file of the dataset: tells the image size and the scale
    fields : tables of all fields of the dataset, needed where there are several networks to choose from: all its shards
        take the one that the channels of all fields allow. Without them, the crops say which channels there are.
    checkpoint : weights; of a released SubCell network its folder, or several to choose from
    device : `cpu`, `cuda` or `cuda:N`, for the networks
    attention : whether maps of attention are given; None as the block says
    log : is told what was chosen

    Raises
    ------
    ConfigError : an unknown kind
    CheckpointError : a model without a checkpoint that needs one, or one that does not fit the crops
    """
    kind = settings["kind"]
    if kind == "handcrafted":
        from subcell.embedding.handcrafted import Handcrafted

        return Handcrafted(name)
    if kind == "shortcuts":
        from subcell.embedding.shortcuts import Shortcuts

        return Shortcuts(name)
    if kind not in NETWORKS:
        raise ConfigError(f"model {name!r} is of kind {kind!r}; expected one of {', '.join(KINDS)}")
    from subcell.embedding.build import build_network

    return build_network(
        name,
        settings,
        store=CropStore(crops),
        fields=fields,
        checkpoint=checkpoint or None,
        device=device,
        attention=bool(settings.get("attention")) if attention is None else attention,
        log=log,
    )
