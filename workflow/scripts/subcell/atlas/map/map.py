"""The map of one dataset as one model sees it: from cells to units to a tree of compartments, and what it is worth."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from subcell.atlas.clusters.graph import FEWEST, connect_and_lay_out, neighbour_distances
from subcell.atlas.clusters.plan import Found, find_levels, random_vectors, steps_of
from subcell.atlas.clusters.settings import Settings
from subcell.atlas.clusters.stability import Progress, plainly
from subcell.atlas.knowledge.agreement import COLUMNS as AGREEMENT_COLUMNS
from subcell.atlas.knowledge.agreement import agreement_rows, read_published
from subcell.atlas.knowledge.annotation import COLUMNS as ANNOTATION_COLUMNS
from subcell.atlas.knowledge.annotation import TEST_COLUMNS, annotate, nearest, score_by_hiding
from subcell.atlas.knowledge.enrichment import COLUMNS as ENRICHMENT_COLUMNS
from subcell.atlas.knowledge.enrichment import CONTROL_COLUMNS, Limits, best_terms, enrich_levels
from subcell.atlas.knowledge.findings import COLUMNS as FINDINGS_COLUMNS
from subcell.atlas.knowledge.findings import check_findings, read_findings
from subcell.atlas.knowledge.knowledge import read_knowledge, read_related
from subcell.atlas.knowledge.published import FILTER_COLUMNS, put_beside, read_counts
from subcell.atlas.outputs.single_cells import lay_out_cells, nearest_cells
from subcell.atlas.outputs.tables import CLUSTER_COLUMNS, LEVEL_COLUMNS, describe_clusters, describe_levels
from subcell.atlas.units.batches import correct_batches
from subcell.atlas.units.filters import choose_cells, name_columns
from subcell.atlas.units.summaries import Summaries
from subcell.atlas.units.units import summarise
from subcell.crops.anndata_file import categories_of_text
from subcell.errors import SubcellError
from subcell.names import plural
from subcell.replacing import replacing
from subcell.tables import write_table

MIXED_UNITS = {"handcrafted", "shortcuts"}
"""Kinds of models whose features have units of their own; without scaling, areas would drown the rest."""

TABLES = {
    "clusters": CLUSTER_COLUMNS,
    "levels": LEVEL_COLUMNS,
    "enrichment": ENRICHMENT_COLUMNS,
    "enrichment_controls": CONTROL_COLUMNS,
    "annotation": ANNOTATION_COLUMNS,
    "annotation_test": TEST_COLUMNS,
    "agreement": AGREEMENT_COLUMNS,
    "findings": FINDINGS_COLUMNS,
    "filters": FILTER_COLUMNS,
}
"""Tables that come with a map, `<name>.tsv`, and their columns."""

log = logging.getLogger(__name__)


@dataclass
class Map:
    """A map and its tables, before they are written."""

    units: anndata.AnnData
    tables: dict[str, pd.DataFrame]
    single_cells: pd.DataFrame | None = None


def build_map(
    cells: str | Path,
    settings: Settings | None = None,
    *,
    workers: int = 1,
    threads: int = 1,
    progress: Progress = plainly,
) -> Map:
    """Summarise cells to units, cluster them at every level, and say what the clusters are and whether they hold.

    Parameters
    ----------
    cells : AnnData file of vectors, a row a cell, in our columns or in those of SubCell's released table
    settings : how; by default as `Settings` says
    workers : processes among which runs are shared; the result does not depend on it
    threads : of Harmony
    progress : passes finished runs through and may say how far it is

    Returns
    -------
    the map. units: X the vectors, obs level_1 to level_L, stability_1 to stability_L (share of runs in which the unit is
    where the map has it), consensus_1 to consensus_L and what is known of a unit, obsm["X_umap"], obsp
    ["connectivities"], uns what was done; without rows, and with uns["not_run"], where the cells do not say which unit
    they belong to. tables: `TABLES`.

    Raises
    ------
    SubcellError : the file of cells or another file is missing or damaged, or what is asked cannot be done with it
    """
    settings = settings or Settings()
    try:
        table = anndata.read_h5ad(cells, backed="r")
    except (OSError, KeyError) as problem:
        raise SubcellError(f"{cells}: not a file of vectors ({problem}); delete it and embed again") from None
    try:
        units, summaries, steps, look_up = _summarise(table, settings, threads)
        kind = str(table.uns.get("kind", ""))
        units.uns |= {"model": str(table.uns.get("model", "")), "kind": kind, "scaled": kind in MIXED_UNITS}
        return _cluster_and_explain(units, summaries, steps, look_up, settings, workers, progress)
    finally:
        table.file.close()


@dataclass(frozen=True)
class _Cells:
    """Vectors and table of the cells that a map takes."""

    vectors: Any
    obs: pd.DataFrame
    keep: NDArray[np.bool_] | None


def _summarise(
    table: anndata.AnnData, settings: Settings, threads: int
) -> tuple[anndata.AnnData, Summaries, pd.DataFrame, _Cells]:
    obs = name_columns(table.obs)
    keep, steps = choose_cells(obs, **settings.filters)
    vectors: Any = table.X
    chosen: NDArray[np.bool_] | None = keep
    if settings.batches and keep.any():
        # Harmony needs all vectors at once; only now are they read, and only those that are kept.
        rows = np.flatnonzero(keep)
        obs = obs.iloc[rows]
        vectors = correct_batches(
            np.asarray(table.X[rows], np.float32),
            obs,
            settings.batches,
            unit=settings.unit,
            within_line=settings.batches_within_line,
            seed=settings.seed,
            threads=threads,
        )
        chosen = None
    units, summaries = summarise(
        vectors,
        obs,
        settings.unit,
        settings.average,
        keep=chosen,
        split_lines=settings.split_lines,
        blocks=settings.resample,
        min_cells=settings.min_cells,
        features=table.var_names,
    )
    if not keep.any() and len(obs):
        there = ", ".join(sorted(obs["cell_line"].dropna().unique()))
        units.uns["not_run"] = f"no cells of {', '.join(settings.filters['cell_lines'])}; there are {there}"
    return units, summaries, steps, _Cells(vectors, obs, chosen)


def _cluster_and_explain(
    units: anndata.AnnData,
    summaries: Summaries,
    steps: pd.DataFrame,
    cells: _Cells,
    settings: Settings,
    workers: int,
    progress: Progress,
) -> Map:
    tables = {name: pd.DataFrame(columns=list(columns)) for name, columns in TABLES.items()}
    tables["filters"] = steps.reindex(columns=list(FILTER_COLUMNS))
    plan = steps_of(
        settings.method,
        levels=settings.levels,
        neighbors=settings.neighbors,
        paper_levels=settings.paper_levels,
        ladder=settings.ladder,
    )
    units.uns |= {
        "method": settings.method,
        "seeds": settings.seeds,
        "bootstraps": settings.bootstraps,
        "seed": settings.seed,
        "min_cells": settings.min_cells,
        "batches": list(settings.batches),
    }
    if units.n_obs < FEWEST and "not_run" not in units.uns:
        units.uns["not_run"] = (
            f"needs {FEWEST} {plural(settings.unit)} with at least {settings.min_cells} cells, {units.n_obs} are there"
        )
    if "not_run" in units.uns:
        units = units[:0].copy()
        units.obsm["X_umap"] = np.zeros((0, 2), np.float32)
        return Map(units, tables)
    points, use_rep = np.asarray(units.X), "X"
    if units.uns["scaled"]:
        points, use_rep = StandardScaler().fit_transform(units.X), "X_scaled"
        units.obsm[use_rep] = points
    log.info("%d units, %d features: neighbours and UMAP", *points.shape)
    connect_and_lay_out(
        units,
        use_rep=use_rep,
        neighbors=plan[0].neighbors,
        seed=settings.seed,
        umap_neighbors=settings.umap_neighbors - 1 if settings.umap_neighbors else None,
    )
    found = find_levels(
        sparse.csr_array(units.obsp["connectivities"]),
        points,
        summaries,
        plan,
        method=settings.method,
        most_levels=settings.ladder["most_levels"],
        seeds=settings.seeds,
        bootstraps=settings.bootstraps,
        held_out=(units.obs["split"] == "test").to_numpy() if "split" in units.obs else None,
        scaled=bool(units.uns["scaled"]),
        curve=settings.curve,
        seed=settings.seed,
        workers=workers,
        progress=progress,
    )
    units.uns["resolutions"] = np.array([level.step.resolution for level in found.levels], float)
    for number, level in enumerate(found.levels, start=1):
        names = [str(cluster + 1) for cluster in range(level.clusters)]
        units.obs[f"level_{number}"] = pd.Categorical.from_codes(level.labels, categories=names)
        units.obs[f"stability_{number}"] = found.unit_stability[number - 1]
        units.obs[f"consensus_{number}"] = pd.Categorical.from_codes(found.consensus[number - 1], categories=names)
    _explain(units, points, found, cells, settings, tables)
    single = lay_out_cells(
        cells.vectors, cells.obs, cells.keep, settings.single_cells, units, settings.unit, settings.seed
    )
    return Map(units, tables, single)


def _explain(
    units: anndata.AnnData,
    points: NDArray[np.floating],
    found: Found,
    cells: _Cells,
    settings: Settings,
    tables: dict[str, pd.DataFrame],
) -> None:
    """Fill the tables that compare the clusters with what is known of the units."""
    log.info("enrichment, annotation, agreement")
    obs, limits, seed = units.obs, Limits(**settings.enrichment), settings.seed
    locations, sources, controls = read_knowledge(obs, settings)
    members = [*([locations] if locations is not None else []), *sources, *controls]
    tables["enrichment"], tables["enrichment_controls"] = enrich_levels(
        found.labels, members, limits, random=found.random_labels, seed=seed
    )
    terms = best_terms(tables["enrichment"], limits.alpha)
    central = nearest_cells(cells.vectors, cells.obs, cells.keep, units, points, found.labels, settings.unit)
    tables["clusters"] = describe_clusters(
        found, obs, points, terms, locations, central, stable_at=settings.stable_at, alpha=limits.alpha
    )
    tables["levels"] = describe_levels(found, tables["clusters"])
    if settings.published_counts:
        put_beside(tables, read_counts(settings.file(settings.published_counts)))

    near = nearest(units.obsp["distances"], obs)
    tables["annotation"] = annotate(obs, near, locations, sources, limits)
    chance = random_vectors(len(obs), seed)
    by_chance = nearest(neighbour_distances(chance, settings.neighbors, seed), obs)
    tables["annotation_test"] = score_by_hiding(
        obs, near, by_chance, members[: len(members) - len(controls)], limits, seed=seed
    )

    related = read_related(obs, locations, sources, settings)
    tables["agreement"] = agreement_rows(
        found.curve,
        found.resolutions,
        found.level_of,
        related,
        random=found.random_curve,
        published=read_published(settings.file(settings.published), obs) if settings.published else None,
    )
    if settings.findings:
        tables["findings"] = check_findings(read_findings(settings.findings), obs, points, found.labels, seed=seed)


def write_map(
    found: Map,
    out_h5ad: str | Path,
    tables: Mapping[str, str | Path],
    *,
    single_cells: str | Path | None = None,
    networks: Mapping[str, str | Path] | None = None,
    figures: Sequence[str | Path] = (),
    title: str = "map",
) -> None:
    """Write a map; every file gets its name when all are whole.

    Parameters
    ----------
    found : the map
    out_h5ad : AnnData file
    tables : name of a table (`TABLES`) -> file
    single_cells : parquet file of the single cells' UMAP
    networks : tree, hierarchy and proteins -> file, see `subcell.atlas.outputs.networks`
    figures : files of the figure, in the formats of their endings
    title : of networks and figure
    """
    found.units.obs = categories_of_text(found.units.obs)
    networks = networks or {}
    with ExitStack() as whole:
        to = {Path(path): whole.enter_context(replacing(path)) for path in (out_h5ad, *tables.values(), *figures)}
        linked = {name: whole.enter_context(replacing(path)) for name, path in networks.items()}
        found.units.write_h5ad(to[Path(out_h5ad)])
        for name, path in tables.items():
            write_table(found.tables[name], to[Path(path)], float_format="%.6g")
        if single_cells is not None:
            single = found.single_cells if found.single_cells is not None else pd.DataFrame()
            single.to_parquet(whole.enter_context(replacing(single_cells)), index=False)
        if networks:
            from subcell.atlas.outputs.networks import write_networks

            proteins = Path(networks["proteins"]).name
            write_networks(found.units, found.tables["clusters"], **linked, name=title, proteins_name=proteins)
        if figures:
            from subcell.atlas.outputs.drawing import draw_map

            draw_map(
                found.units,
                found.tables["clusters"],
                found.tables["enrichment"],
                title=title,
                paths=[to[Path(path)] for path in figures],
            )
