"""The static figure of a map: UMAP at each level, the tree, and what the finest clusters are rich in."""

from __future__ import annotations

from pathlib import Path

import anndata
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MOST_TERMS = 25
MOST_CLUSTERS = 60
PER_ROW = 4


def draw_map(
    units: anndata.AnnData, clusters: pd.DataFrame, enrichment: pd.DataFrame, *, title: str, paths: list[Path]
) -> None:
    """Draw the map and write it once for each path, in the format that its ending names.

    Parameters
    ----------
    units : map with level_1 to level_L and obsm["X_umap"]
    clusters : table of clusters, as in clusters.tsv; unstable ones are drawn hollow in the tree
    enrichment : as in enrichment.tsv
    title : above the figure; what is simulated says so here
    paths : files to write
    """
    levels = sorted(clusters["level"].unique())
    rows = -(-max(1, len(levels)) // PER_ROW)
    figure = Figure(figsize=(3.6 * PER_ROW, 3.4 * rows + 9), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(rows + 2, PER_ROW, height_ratios=[1] * rows + [1, 1.6])
    points = units.obsm["X_umap"]
    for place, level in enumerate(levels):
        axes = figure.add_subplot(grid[place // PER_ROW, place % PER_ROW])
        _draw_level(axes, points, units.obs[f"level_{level}"], level)
    if not levels:
        axes = figure.add_subplot(grid[0, :])
        axes.text(0.5, 0.5, f"no map: {units.uns.get('not_run', 'nothing to map')}", ha="center")
        axes.set_axis_off()
    else:
        _draw_tree(figure.add_subplot(grid[rows, :]), clusters)
        _draw_enrichment(figure.add_subplot(grid[rows + 1, :]), clusters, enrichment)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a date and with fixed names inside, so that the same map gives the same file.
        with matplotlib.rc_context({"svg.hashsalt": "map", "svg.fonttype": "none"}):
            metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            figure.savefig(path, dpi=110, metadata=metadata)


def _colours(clusters: int) -> list[tuple[float, float, float]]:
    palette = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    return [palette[i % len(palette)] for i in range(clusters)]


def _draw_level(axes: Axes, points: np.ndarray, labels: pd.Series, level: int) -> None:
    codes = labels.cat.codes.to_numpy()
    colours = np.array(_colours(max(1, len(labels.cat.categories))))
    size = float(np.clip(3000 / max(1, len(points)), 1, 30))
    axes.scatter(points[:, 0], points[:, 1], s=size, c=colours[codes], linewidths=0, rasterized=True)
    for code, name in enumerate(labels.cat.categories):
        inside = points[codes == code]
        if len(inside) and len(labels.cat.categories) <= MOST_CLUSTERS:
            x, y = np.median(inside, axis=0)
            axes.text(x, y, str(name), fontsize=7, ha="center", va="center")
    axes.set_title(f"level {level}, clusters: {len(labels.cat.categories)}", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_tree(axes: Axes, clusters: pd.DataFrame) -> None:
    """Clusters of a level side by side in the order of their parents, as wide as they are large."""
    place: dict[tuple[int, str], float] = {}
    total = clusters.loc[clusters["level"] == clusters["level"].min(), "size"].sum()
    order = {(0, ""): 0}
    for level, part in clusters.groupby("level", sort=True):
        part = part.assign(above=[order.get((int(level) - 1, str(parent)), 0) for parent in part["parent"]])
        part = part.sort_values(["above", "size", "cluster"], ascending=[True, False, True])
        x = 0.0
        colours = _colours(len(part))
        for rank, row in enumerate(part.to_dict("records")):
            key = (int(level), str(row["cluster"]))
            order[key] = rank
            width = row["size"] / total
            place[key] = x + width / 2
            colour = colours[int(row["cluster"]) - 1]
            stable = str(row.get("stable", "True")) != "False"
            axes.barh(-int(level), width * 0.98, left=x, height=0.5, color=colour if stable else "none",
                      edgecolor=colour, linewidth=1)  # fmt: skip
            if width > 0.04:
                label = f"{row['cluster']} {row['name']}"
                axes.text(x + width / 2, -int(level), label[: int(width * 170)], fontsize=6, ha="center", va="center")
            above = (int(level) - 1, str(row["parent"]))
            if above in place:
                axes.plot([place[above], place[key]], [-int(level) + 0.75, -int(level) + 0.25], color="0.6", lw=0.6)
            x += width
    axes.set_yticks([-level for level in sorted(clusters["level"].unique())])
    axes.set_yticklabels([f"level {level}" for level in sorted(clusters["level"].unique())], fontsize=7)
    axes.set_xticks([])
    axes.set_title("tree: width is size, hollow is unstable", fontsize=9)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)


def _draw_enrichment(axes: Axes, clusters: pd.DataFrame, enrichment: pd.DataFrame) -> None:
    """log2 odds of the best terms in the clusters of the last level; a dot where it is significant."""
    last = clusters["level"].max()
    table = enrichment[enrichment["level"] == last]
    table = table[~table["negative_control"].astype(bool)]
    if not len(table):
        axes.text(0.5, 0.5, "no terms to test", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    label = table["source"] + ": " + table["term"]
    best = table.assign(label=label).groupby("label")["p_value"].min().sort_values(kind="stable").index[:MOST_TERMS]
    columns = [str(name) for name in clusters.loc[clusters["level"] == last, "cluster"]][:MOST_CLUSTERS]
    shown = table.assign(label=label)
    odds = shown.pivot_table(index="label", columns="cluster", values="log2_odds", aggfunc="first")
    odds = odds.reindex(index=best, columns=columns).astype(float)
    image = axes.imshow(odds, aspect="auto", cmap="RdBu_r", vmin=-6, vmax=6)
    q_values = shown.pivot_table(index="label", columns="cluster", values="q_value", aggfunc="first")
    hit = q_values.reindex(index=best, columns=columns).astype(float).to_numpy() <= 0.05
    y, x = np.nonzero(hit)
    axes.plot(x, y, "k.", markersize=3)
    axes.set_yticks(range(len(best)))
    axes.set_yticklabels([str(name)[:60] for name in best], fontsize=6)
    axes.set_xticks(range(len(columns)))
    axes.set_xticklabels(columns, fontsize=6)
    axes.set_title(f"clusters of level {last}: log2 odds of terms; dot: 5 % false discovery rate", fontsize=9)
    axes.figure.colorbar(image, ax=axes, shrink=0.6)
