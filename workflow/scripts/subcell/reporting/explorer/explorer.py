"""What the report's explorer of one map needs: units, levels, clusters, cells and their pictures, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from numpy.typing import NDArray

from subcell.atlas.units.units import KINDS_OF_RUNS, UNNAMED
from subcell.crops.anndata_file import text_of_categories
from subcell.crops.store import CropStore
from subcell.replacing import replacing
from subcell.reporting.explorer.cells_on_map import CellsOnMap, place_cells
from subcell.reporting.explorer.expression_of_units import expression_of_units
from subcell.reporting.explorer.packing import (
    coded,
    enclosing_square,
    packed,
    packed_column,
    packed_lists,
    packed_positions,
)
from subcell.reporting.explorer.tiles import choose_cells, choose_size, draw_tiles
from subcell.reporting.figures.canvas import data_uri
from subcell.reporting.figures.figures import level_columns
from subcell.tables import read_table

TITLES = {
    "n_cells": "Cells",
    "n_fields": "Fields",
    "expression": "Expression, log2(TPM + 1), mean of its cell lines",
    "cell_line": "Cell line",
    "ensembl_id": "Ensembl",
    "split": "Part of the split",
    "mechanism": "Mechanism",
    "locations_by_neighbours": "Locations that the neighbours predict",
    "neighbours_disagree": "Neighbours disagree with the annotation",
    "transferred_terms": "Terms that the neighbours share",
}
LISTS = ("locations", "predicted_locations", "locations_by_neighbours")
"""Columns of several names a row, ";" between."""

NAMING = {"ensembl_id", "transferred_terms"}
"""Columns that name a unit and are shown, but colour nothing."""

CELL_COLUMNS = ("cell_line", "plate", "locations", "compound", "split", "touches_border", "cell_area_um2")
CELLS_SHOWN = 200_000
TERMS_A_CLUSTER = 3
NEIGHBORS_SHOWN = 12
PREDICTED_SHOWN = 8


def write_explorer(
    out_json: str | Path,
    *,
    map_h5ad: str | Path,
    clusters_tsv: str | Path,
    cells_h5ad: str | Path,
    crops: Sequence[str | Path],
    dataset: str,
    model: str,
    simulated: bool,
    more: Mapping[str, str | Path] | None = None,
    line: str | None = None,
    expression: str | Path | None = None,
    tiles_bytes: int = 1_600_000,
    seed: int = 0,
) -> None:
    """Gather everything the explorer shows of one map.

    Parameters
    ----------
    out_json : file to write
    map_h5ad, clusters_tsv : the map and its table of clusters
    cells_h5ad : vectors of its cells
    crops : crop files of the dataset; none of vectors from elsewhere, whose cells have no pictures
    dataset, model, simulated : what it is a map of
    more : tables that a run may have, by name: enrichment, annotation, locations, neighbors
    line : the one cell line that the map is of; None for a map of all that were taken
    expression : see `subcell.reporting.explorer.expression_of_units`
    tiles_bytes : what the pictures of cells may take
    seed : of the sample of cells where there are more than `CELLS_SHOWN`
    """
    with h5py.File(map_h5ad, "r") as file:
        obs = text_of_categories(read_elem(file["obs"]))
        about = read_elem(file["uns"]) if "uns" in file else {}
        points = read_elem(file["obsm/X_umap"]) if "X_umap" in file.get("obsm", {}) else np.zeros((len(obs), 2))
        vectors = read_elem(file["X"]) if "X" in file else None
    names = [str(name) for name in obs.index]
    tables = {name: _read_table(path) for name, path in (more or {}).items()}
    found: dict[str, Any] = {
        "dataset": dataset,
        "model": model,
        "line": line,
        "simulated": bool(simulated),
        "unit": str(about.get("unit", "unit")),
        "average": str(about.get("average", "mean")),
        "reason": str(about.get("not_run", "") or ""),
        "names": names,
        "levels": [],
        "columns": [],
    }
    if not found["reason"] and names:
        low, side = enclosing_square(np.asarray(points, np.float64))
        placed = place_cells(
            cells_h5ad,
            units=names,
            unit=found["unit"],
            vectors=vectors,
            points=points,
            scaled=bool(about.get("scaled")),
            line=line,
        )
        if placed is not None:
            obs = obs.assign(**placed.of_units(["ensembl_id"], names, present=obs.columns))
            lines = [line] if line else placed.obs.get("cell_line", pd.Series(dtype=object)).dropna().unique()
            expressed = expression_of_units(expression, obs, map(str, lines)) if expression else None
            obs = obs if expressed is None else obs.assign(expression=expressed)
        obs = _with_predictions(obs, tables.get("locations"))
        obs = _with_annotation(obs, tables.get("annotation"))
        found |= packed_positions(np.asarray(points, np.float64), low=low, side=side)
        found["levels"] = describe_levels(obs, read_clusters(clusters_tsv), tables.get("enrichment"))
        found["columns"] = _columns(obs)
        found["neighbors"] = _neighbors(names, tables.get("neighbors"), points, vectors)
        found["predicted"] = _predictions(names, tables.get("locations"))
        if placed is not None:
            found["cells"] = _cells(placed, len(names), low=low, side=side, seed=seed)
            found["pictures"] = _pictures(placed, crops, len(names), max_bytes=tiles_bytes)
    with replacing(out_json) as to:
        to.write_text(json.dumps(found, allow_nan=False, ensure_ascii=False), encoding="utf-8")


def read_clusters(path: str | Path) -> pd.DataFrame:
    """Table of clusters; names of clusters are text."""
    text = dict.fromkeys(("cluster", "parent", "members"), str)
    return read_table(path, dtype=text, keep_default_na=False)


def describe_levels(obs: pd.DataFrame, clusters: pd.DataFrame, enrichment: pd.DataFrame | None) -> list[dict[str, Any]]:
    """For every level its resolution, the cluster of each unit and what is known of each cluster."""
    columns = level_columns(obs)
    levels = []
    for column in columns:
        number = int(column.removeprefix("level_"))
        rows = clusters[clusters["level"] == number]
        order = list(rows["cluster"])
        described = [
            describe_cluster(row) | {"terms": _terms(_of_cluster(enrichment, number, row["cluster"]))}
            for row in rows.to_dict("records")
        ]
        levels.append(
            {
                "level": number,
                "resolution": number_or_none(rows["resolution"].iloc[0])
                if len(rows) and "resolution" in rows
                else None,
                "codes": packed(coded(obs[column].astype(str), order)),
                "clusters": described,
            }
        )
    return levels


def describe_cluster(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table of clusters; what a column does not say is left out; `q_value` is of what `name`
    says, so a cluster without an enriched term has none."""
    named = [
        row.get(q_value)
        for best, q_value in (("top_term", "top_term_q_value"), ("top_location", "q_value"))
        if row.get(best) and str(row.get("name")).startswith(f"{row[best]} (")
    ]
    shown = {
        "cluster": row["cluster"],
        "parent": row.get("parent", ""),
        "size": int(row.get("size") or 0),
        "name": "" if row.get("name") == UNNAMED else str(row.get("name") or ""),
        "stability": number_or_none(row.get("stability")),
        "stability_of": {
            kind: value for kind in KINDS_OF_RUNS if (value := number_or_none(row.get(f"stability_{kind}"))) is not None
        },
        "not_measured": str(row.get("not_measured") or ""),
        "stable": str(row["stable"]).lower() in ("true", "1") if row.get("stable", "") != "" else None,
        "q_value": number_or_none(named[0]) if named else None,
        "markers": str(row.get("markers") or ""),
        "top_units": str(row.get("top_units") or ""),
    }
    return {key: value for key, value in shown.items() if value not in (None, "", {})} | {"cluster": row["cluster"]}


def number_or_none(value: Any) -> float | None:
    """A finite number, or None."""
    number = pd.to_numeric(value, errors="coerce")
    return float(f"{number:.4g}") if pd.notna(number) and np.isfinite(number) else None


def _of_cluster(table: pd.DataFrame | None, level: int, cluster: str) -> pd.DataFrame | None:
    if table is None or not {"level", "cluster"} <= set(table.columns):
        return None
    return table[(table["level"].astype(str) == str(level)) & (table["cluster"] == cluster)]


def _terms(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """The most enriched terms of a cluster, one source's beside another's."""
    if table is None or not len(table) or "term" not in table:
        return []
    ordered = table.assign(order=pd.to_numeric(table["q_value"], errors="coerce")).sort_values("order", kind="stable")
    best = ordered.groupby("source", sort=False).head(TERMS_A_CLUSTER) if "source" in ordered else ordered.head(6)
    return [
        {
            "source": str(row.get("source", ""))
            + (" (negative control)" if row.get("negative_control") == "True" else ""),
            "term": str(row["term"]),
            "hits": str(row.get("hits", "")),
            "size": str(row.get("size", "")),
            "fold": number_or_none(row.get("fold")),
            "q_value": number_or_none(row.get("q_value")),
        }
        for row in best.to_dict("records")
    ]


def _read_table(path: str | Path) -> pd.DataFrame:
    return read_table(path, dtype=str, keep_default_na=False)


def _with_predictions(obs: pd.DataFrame, locations: pd.DataFrame | None) -> pd.DataFrame:
    """obs with the location of highest probability, and those that are more likely than not."""
    if locations is None or not len(locations):
        return obs
    table = locations.assign(probability=pd.to_numeric(locations["probability"], errors="coerce"))
    likely = table[table["probability"] >= 0.5].groupby("unit")["location"].agg(";".join)
    best = table.sort_values("probability", ascending=False, kind="stable").groupby("unit")["probability"].first()
    index = obs.index.astype(str)
    return obs.assign(
        predicted_locations=likely.reindex(index).to_numpy(object),
        highest_predicted_probability=best.reindex(index).to_numpy(float),
    )


def _with_annotation(obs: pd.DataFrame, annotation: pd.DataFrame | None) -> pd.DataFrame:
    """obs with what the nearest neighbours of each unit say of it."""
    if annotation is None or not len(annotation):
        return obs
    table = annotation.drop_duplicates("unit").set_index("unit").reindex(obs.index.astype(str))
    disagrees = table["disagrees"].map({"True": "yes", "False": "no"})
    return obs.assign(
        locations_by_neighbours=table["predicted_locations"].to_numpy(object),
        neighbours_disagree=disagrees.to_numpy(object),
        transferred_terms=table["transferred_terms"].replace("", None).to_numpy(object),
    )


def _predictions(names: Sequence[str], locations: pd.DataFrame | None) -> list[list[list[Any]]] | None:
    """For each unit its likeliest locations: [location, probability, standard deviation over cells or None]."""
    if locations is None or not len(locations):
        return None
    table = locations.assign(order=pd.to_numeric(locations["probability"], errors="coerce"))
    table = table.sort_values("order", ascending=False, kind="stable").groupby("unit").head(PREDICTED_SHOWN)
    by_unit = dict(list(table.groupby("unit")))
    return [
        [
            [row["location"], number_or_none(row["probability"]), number_or_none(row.get("sd"))]
            for row in (by_unit[name].to_dict("records") if name in by_unit else [])
        ]
        for name in names
    ]


def _neighbors(
    names: Sequence[str], table: pd.DataFrame | None, points: NDArray[Any], vectors: NDArray[Any] | None
) -> dict[str, Any]:
    """The nearest units of each unit: {"by", "k", "codes", "similarity"}, one row after another; a unit that has fewer
    than k repeats len(names)."""
    k = min(NEIGHBORS_SHOWN, max(1, len(names) - 1))
    codes = np.full((len(names), k), len(names))
    similarity = np.full((len(names), k), np.nan)
    if table is not None and len(table):
        by = "similarity of the vectors, from neighbors.tsv"
        table = table.assign(order=pd.to_numeric(table["rank"], errors="coerce")).sort_values("order", kind="stable")
        number = {name: row for row, name in enumerate(names)}
        for unit, part in table.groupby("unit"):
            part = part[part["neighbor"].isin(number)].head(k)
            if unit in number:
                codes[number[unit], : len(part)] = [number[name] for name in part["neighbor"]]
                similarity[number[unit], : len(part)] = pd.to_numeric(part["similarity"], errors="coerce")
    elif vectors is not None and len(names) > 1:
        by = "cosine similarity of the centred vectors"
        centred = np.asarray(vectors, np.float32) - np.mean(vectors, axis=0, dtype=np.float64).astype(np.float32)
        centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        for start in range(0, len(names), 1024):
            block = centred[start : start + 1024] @ centred.T
            rows = np.arange(len(block))
            block[rows, rows + start] = -np.inf
            best = np.argpartition(-block, k - 1, axis=1)[:, :k]
            order = np.argsort(-np.take_along_axis(block, best, axis=1), axis=1, kind="stable")
            codes[start : start + 1024] = np.take_along_axis(best, order, axis=1)
            similarity[start : start + 1024] = np.take_along_axis(block, codes[start : start + 1024], axis=1)
    else:
        by = ""
    return {"by": by, "k": k, "codes": packed(codes), "similarity": packed(similarity.round(4))}


def _columns(obs: pd.DataFrame) -> list[dict[str, Any]]:
    """Everything that is known of the units, locations first, levels left out."""
    skipped = {*level_columns(obs)}
    order = [name for name in LISTS if name in obs] + [name for name in obs.columns if name not in LISTS]
    columns = []
    for name in order:
        if name in skipped:
            continue
        title = TITLES.get(str(name), str(name).replace("_", " ").capitalize())
        if name in LISTS:
            column = packed_lists(list(obs[name]), title=title)
        elif name in NAMING or _names_rows(obs[name]):
            values = [None if pd.isna(value) else str(value) for value in obs[name]]
            known = any(values) and values != [str(unit) for unit in obs.index]
            column = {"title": title, "kind": "name", "values": values} if known else None
        else:
            column = packed_column(obs[name], title=title)
        if column is not None:
            columns.append({"name": str(name), **column})
    return columns


def _names_rows(series: pd.Series) -> bool:
    """Whether a column of text has a value of its own for nearly every row."""
    return not pd.api.types.is_numeric_dtype(series) and series.nunique() > 0.9 * max(2, len(series))


def _cells(placed: CellsOnMap, units: int, *, low: NDArray[Any], side: float, seed: int) -> dict[str, Any]:
    """Positions, units and columns of the cells, a sample where there are very many."""
    rows = np.flatnonzero(placed.unit < units)
    total = len(rows)
    if total > CELLS_SHOWN:
        rows = np.sort(np.random.default_rng(seed).choice(rows, CELLS_SHOWN, replace=False))
    columns = []
    for name in CELL_COLUMNS:
        if name in placed.obs:
            title = TITLES.get(name, name.replace("_um2", ", µm²").replace("_", " ").capitalize())
            values = placed.obs[name].iloc[rows]
            column = packed_lists(list(values), title=title) if name in LISTS else packed_column(values, title=title)
            if column is not None:
                columns.append({"name": name, **column})
    return {
        "total": total,
        **packed_positions(placed.points[rows].astype(np.float64), low=low, side=side),
        "unit": packed(placed.unit[rows]),
        "columns": columns,
    }


def _pictures(placed: CellsOnMap, crops: Sequence[str | Path], units: int, *, max_bytes: int) -> dict[str, Any] | None:
    """Pictures of the cells of each unit, with what is known of each and, where it was kept, where attention lies; None
    without crops, as vectors from elsewhere have none."""
    if not crops:
        return None
    most, side_px = choose_size(units, max_bytes=max_bytes)
    whole = (
        ~placed.obs["touches_border"].to_numpy(bool)
        if "touches_border" in placed.obs
        else np.ones(len(placed.obs), bool)
    )
    chosen = choose_cells(placed.unit, placed.distance, whole, units=units, most=most)
    store = CropStore(crops)
    try:
        tiles = draw_tiles(store, placed.obs.index, chosen, side_px=side_px)
        um = store.field_um
    finally:
        store.close()
    if tiles is None:
        return None
    of_cells = placed.obs.iloc[tiles.cells]
    shown = [name for name in ("cell_line", "field_id") if name in of_cells]
    captions = [" · ".join(str(value) for value in row if pd.notna(value)) for row in of_cells[shown].to_numpy(object)]
    attention = placed.attention_of(tiles.cells)
    return {
        "uri": data_uri(tiles.jpeg, "image/jpeg"),
        "side": tiles.side_px,
        "columns": tiles.columns,
        "starts": packed(tiles.starts),
        "captions": captions,
        "um": um,
        "attention": None
        if attention is None
        else {"rows": attention.shape[1], "columns": attention.shape[2], "values": packed(attention)},
    }
