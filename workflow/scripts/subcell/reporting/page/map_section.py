"""What the report says of one map beside its explorer: a figure for papers, the clusters, agreement with references."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata.io import read_elem
from h5py import File

from subcell.crops.anndata_file import text_of_categories
from subcell.reporting.explorer.explorer import describe_cluster, read_clusters
from subcell.reporting.figures.exports import Figures
from subcell.reporting.figures.figures import agreement_figure, frequent_locations, level_columns, map_figure
from subcell.reporting.scores import results as scores
from subcell.tables import read_table

MEMBERS_SHOWN = 24
CLUSTERS_SHOWN = 300


def describe_map(entry: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """Figure, clusters, agreement and the data of the explorer of one map.

    Parameters
    ----------
    entry : dataset, model, map_h5ad, clusters_tsv; line of a map of one cell line; explorer_json and agreement_tsv where
        there are any
    figures : gets the figures
    """
    with File(entry["map_h5ad"], "r") as file:
        obs = text_of_categories(read_elem(file["obs"]))
        points = read_elem(file["obsm/X_umap"]) if "obsm" in file and "X_umap" in file["obsm"] else obs.to_numpy()[:0]
        about = read_elem(file["uns"]) if "uns" in file else {}
    reason = str(about.get("not_run", "") or "")
    clusters = read_clusters(entry["clusters_tsv"])
    line = entry.get("line")
    name = "_".join([entry["dataset"], entry["model"], *([re.sub(r"\W+", "-", line)] if line else [])])
    table = None
    if not reason:
        places = pd.DataFrame(np.asarray(points), columns=["umap_1", "umap_2"], index=obs.index)
        table = places.join(obs).reset_index()
    explorer = entry.get("explorer_json")
    return {
        "dataset": entry["dataset"],
        "model": entry["model"],
        "line": line,
        "figure": figures.add(f"{name}_map", map_figure(points, obs, reason=reason), table),
        "units": len(obs),
        "unit": str(about.get("unit", "unit")),
        "reason": reason,
        "levels": [column.removeprefix("level_") for column in level_columns(obs)],
        "locations": frequent_locations(obs, most=8),
        "clusters": [_describe_cluster(row) for row in clusters.head(CLUSTERS_SHOWN).to_dict("records")],
        "clusters_more": max(0, len(clusters) - CLUSTERS_SHOWN),
        "agreement": _describe_agreement(entry.get("agreement_tsv"), name, figures),
        "explorer": json.loads(Path(explorer).read_text(encoding="utf-8")) if explorer and not reason else None,
    }


def _describe_agreement(path: str | Path | None, name: str, figures: Figures) -> dict[str, Any] | None:
    """How far the clusters agree with reference sets, beside shuffled and random ones."""
    if not path:
        return None
    table = read_table(path)
    if table.empty:
        return None
    return {
        "figure": figures.add(f"{name}_agreement", agreement_figure(table), table),
        "references": sorted(table["reference"].astype(str).unique()),
    }


def _describe_cluster(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table of clusters; a long list of members is cut."""
    members = [member for member in str(row.get("members", "")).split(";") if member.strip()]
    shown = members[:MEMBERS_SHOWN]
    about = describe_cluster(row)
    return {
        **{key: row.get(key, "") for key in ("level", "cluster", "parent", "size")},
        "resolution": row.get("resolution", ""),
        "name": about.get("name", ""),
        "q_value": _small(about.get("q_value")),
        "stability": scores.number(about.get("stability"), 2),
        "members": ", ".join(shown),
        "more": len(members) - len(shown),
    }


def _small(value: float | None) -> str:
    """A corrected p-value as text; "" where there is none."""
    return "" if value is None else "below 0.001" if value < 0.001 else f"{value:.3f}"
