"""What the report says of one dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from anndata.io import read_elem
from h5py import File

from subcell.catalog.names import tissue_of
from subcell.catalog.set_aside import read_set_aside
from subcell.channels import CHANNELS
from subcell.reporting.figures.exports import Figures
from subcell.reporting.figures.figures import quality_figure
from subcell.reporting.figures.pictures import inlined_picture
from subcell.reporting.quality.field_quality import MEASURES
from subcell.tables import read_table

ROWS_SHOWN = 200
REASONS_SHOWN = 4
LONGEST_FACT = 2000
BRINGS = {"subcell_crops": "crops", "embeddings": "vectors"}
"""What a source brings, where it is not fields of view."""

UNKNOWN_LICENCE = "not given; ask whoever made them"
ABOUT_SOURCE = ("source", "release", "licence", "licence_url", "attribution", "citations", "url")


def describe_dataset(
    entry: Mapping[str, Any], config: Mapping[str, Any], figures: Figures, *, max_bytes: int
) -> dict[str, Any]:
    """Numbers, pictures, downloads and set-aside rows of one dataset.

    Parameters
    ----------
    entry : see `subcell.reporting.page.report.write_report`
    config : the whole configuration
    figures : gets the figure of the quality of fields
    max_bytes : what a picture may take

    Returns
    -------
    `brings` says what the dataset began with: "fields" of view, "crops" of cells, or "vectors", of which there are counts
    alone; `channels` the stains of its files, None where they do not say it
    """
    name = entry["name"]
    settings = config.get("datasets", {}).get(name, {})
    about = {"name": name, "settings": settings, "brings": BRINGS.get(settings.get("source", ""), "fields")}
    if about["brings"] == "vectors":
        return {**_NOTHING, **about, "total": _count_cells(entry["cells_h5ad"])}
    quality = read_table(entry["quality_tsv"], dtype={"cell_line": str})
    quality["cell_line"] = quality["cell_line"].fillna("")
    by_line = {
        str(line): dict(zip(part["metric"], part["value"], strict=True))
        for line, part in quality.groupby("cell_line", sort=False)
    }
    aside = read_set_aside(entry["set_aside_tsv"])
    simulated = entry.get("simulated", settings.get("source") == "simulate")
    pictures = {
        kind: inlined_picture(entry[f"{kind}_png"], max_bytes=max_bytes)
        for kind in ("gallery", "crops", "lines")
        if entry.get(f"{kind}_png")
    }
    downloads = _describe_downloads(entry.get("downloads_tsv"))
    return {
        **about,
        "simulated": simulated,
        "total": by_line.pop("", {}),
        "by_line": by_line,
        # A simulated line has the name of a real one and nothing else of it.
        "tissues": {} if simulated else {line: tissue_of(line) for line in by_line if tissue_of(line)},
        "set_aside": aside.head(ROWS_SHOWN).to_dict("records"),
        "set_aside_rows": len(aside),
        "set_aside_reasons": _reasons(aside),
        "pictures": pictures,
        "quality": _describe_fields(entry.get("field_quality_tsv"), name, figures),
        "plates": _describe_plates(entry.get("plates_tsv")),
        "downloads": downloads,
        "channels": downloads["channels"] if downloads else None,
        "source": describe_source(entry.get("source_json"), settings, simulated=simulated),
    }


_NOTHING: dict[str, Any] = {
    "simulated": False, "by_line": {}, "tissues": {}, "set_aside": [], "set_aside_rows": 0, "set_aside_reasons": [],
    "pictures": {}, "quality": None, "plates": None,
    "downloads": None, "channels": None, "source": {"licence": UNKNOWN_LICENCE},
}  # fmt: skip
"""What there is to say of a dataset without images."""


def _count_cells(path: str | Path) -> dict[str, int]:
    """How many cells, genes, antibodies and cell lines a table of vectors has; what it has no column for is left out."""
    with File(path, "r") as file:
        obs = read_elem(file["obs"])
    named = {"genes": "gene", "antibodies": "antibody", "cell_lines": "cell_line"}
    known = {key: int(obs[column].nunique()) for key, column in named.items() if column in obs}
    return {"cells": len(obs), **{key: number for key, number in known.items() if number}}


def _reasons(aside: pd.DataFrame) -> list[tuple[str, int]]:
    """The most frequent reasons why something was set aside."""
    counts = aside["reason"].astype(str).value_counts().head(REASONS_SHOWN)
    return [(str(reason), int(number)) for reason, number in counts.items()]


def _describe_fields(path: str | Path | None, name: str, figures: Figures) -> dict[str, Any] | None:
    """Figure of the quality of all fields, and those that differ from the others."""
    if not path:
        return None
    text = dict.fromkeys(("field_id", "cell_line", "plate", "status", "pixel_size_warning", "unusual"), str)
    table = read_table(path, dtype=text).fillna(dict.fromkeys(text, ""))
    good = table[table["status"] == "ok"]
    unusual = table[table["unusual"] != ""]
    return {
        "figure": figures.add(f"{name}_field_quality", quality_figure(good), table) if len(good) else None,
        "measures": [title for name, title in MEASURES.items() if table[name].notna().any()],
        "unusual": unusual.head(ROWS_SHOWN).to_dict("records"),
        "unusual_rows": len(unusual),
        "fields": len(table),
    }


def _describe_plates(path: str | Path | None) -> dict[str, Any] | None:
    """Plates that stand out from the others, a row a measure."""
    if not path:
        return None
    table = read_table(path, dtype={"plate": str, "metric": str}).fillna({"plate": ""})
    outlying = table[table["outlier"].astype(bool)]
    return {
        "outlying": outlying.head(ROWS_SHOWN).to_dict("records"),
        "outlying_plates": outlying["plate"].nunique(),
        "plates": table["plate"].nunique(),
    }


def _describe_downloads(path: str | Path | None) -> dict[str, Any] | None:
    """The ledger in sum: files, bytes and tries by channel, host and outcome."""
    if not path:
        return None
    table = read_table(path, dtype={"channel": str, "host": str, "status": str, "reason": str})
    table = table.fillna({"channel": "", "host": "", "status": "", "reason": ""})
    return {
        "rows": table.head(ROWS_SHOWN).to_dict("records"),
        "more": max(0, len(table) - ROWS_SHOWN),
        "files": int(table["files"].sum()),
        "ok": int(table.loc[table["status"] == "ok", "files"].sum()),
        "bytes": int(table["bytes"].sum()),
        "retried": int(table["retried"].sum()),
        "channels": [name for name in CHANNELS if name in set(table.loc[table["status"] == "ok", "channel"])] or None,
        "hosts": sorted(set(table["host"]) - {""}),
    }


def describe_source(path: str | Path | None, settings: Mapping[str, Any], *, simulated: bool) -> dict[str, str]:
    """Release, licence, attribution, citations and addresses of the images, as far as they are known."""
    given: dict[str, Any] = {}
    if path:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
    about = {key: _as_text(given[key]) for key in ABOUT_SOURCE if given.get(key)}
    if simulated:
        seed = settings.get("seed")
        release = "simulated" if seed is None else f"simulated with seed {seed}"
        return {"release": release, "licence": "none: made by this run", **about}
    return {"licence": UNKNOWN_LICENCE, **about}


def _as_text(value: Any) -> str:
    """Text, the items of a list one after another."""
    return ("; ".join(map(str, value)) if isinstance(value, list) else str(value))[:LONGEST_FACT]


def readable_bytes(number: float) -> str:
    """A size as a person says it: "812 B", "3.4 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
