"""What is publicly released: names, channels and scale of SubCell's networks, and the table of weight files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from subcell.errors import ConfigError

RESOURCES = Path(__file__).parents[4] / "resources"
WEIGHTS_FILE = RESOURCES / "weights.tsv"
CLASSES_FILE = RESOURCES / "location_classes.tsv"

CHANNEL_SETS = {
    "all_channels": ("microtubules", "er", "nucleus", "protein"),
    "MT-DNA-Protein": ("microtubules", "nucleus", "protein"),
    "ER-DNA-Protein": ("er", "nucleus", "protein"),
    "DNA-Protein": ("nucleus", "protein"),
}
"""Released sets of channels (rybg, rbg, ybg, bg) in the order that their networks take."""

VARIANTS = {"vit-prots-pool": "ViT-ProtS-Pool", "mae-cells-prots-pool": "MAE-CellS-ProtS-Pool"}
"""Our recipe -> the released name of it."""

RELEASED_UM_PER_PX = (0.0800885, 0.160177)
"""The paper infers at HPA's own pixel size, 640 px a cell; the published training shards are 448 px at half of it."""


@dataclass(frozen=True)
class WeightFile:
    """One row of resources/weights.tsv.

    Attributes
    ----------
    name : of the network it belongs to
    file : its name in a folder of ours
    url : address; "" where none is public
    bytes, sha256 : of its content, 0 and "" where unknown
    licence : short name
    source : where the licence and the weights are described
    """

    name: str
    file: str
    url: str
    bytes: int
    sha256: str
    licence: str
    source: str


def released_name(channels: str, recipe: str) -> str:
    """Name of a released SubCell network, such as `ER-DNA-Protein_ViT-ProtS-Pool`."""
    return f"{channels}_{VARIANTS[recipe]}"


def weight_files(name: str | None = None) -> list[WeightFile]:
    """Rows of the table of weight files, of one network or of all.

    Raises
    ------
    ConfigError : there is no network of that name
    """
    with open(WEIGHTS_FILE, encoding="utf-8", newline="") as file:
        rows = [
            WeightFile(
                row["name"],
                row["file"],
                row["url"],
                int(row["bytes"] or 0),
                row["sha256"],
                row["licence"],
                row["source"],
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]
    found = [row for row in rows if name in (None, row.name)]
    if not found:
        raise ConfigError(f"no released weights {name!r}; known: {', '.join(dict.fromkeys(row.name for row in rows))}")
    return found


def location_names() -> list[str]:
    """The 31 locations of the released classifiers, in the order of their outputs."""
    with open(CLASSES_FILE, encoding="utf-8", newline="") as file:
        return [row["location"] for row in csv.DictReader(file, delimiter="\t")]
