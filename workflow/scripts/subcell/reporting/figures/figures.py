"""Training curves, the map and the comparison of models as figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from subcell.reporting.figures.canvas import ACCENT, INK, MUTED, PALETTE, STYLE, new_figure, shown_text, text_figure
from subcell.reporting.quality.field_quality import MEASURES

REST = "#c3cad2"
MANY_POINTS = 1500
"""Above this a figure of points is smaller as pixels than as lines."""

MOST_LINES = 40
MOST_NUMBERS = 60
"""Cell lines side by side, and numbers of clusters in one panel, that can still be read."""


@matplotlib.rc_context(STYLE)
def training_figure(training: pd.DataFrame) -> Figure:
    """Draw every metric of a training against the epoch, training and validation in one panel.

    Parameters
    ----------
    training : one row a logged step: step, epoch, split, metric, value; the steps of an epoch are averaged, and how fast
        it went (`cells_per_s`) is left out
    """
    shown = training[np.isfinite(training["value"].astype(float)) & (training["metric"] != "cells_per_s")]
    metrics = sorted(shown["metric"].unique(), key=_order_of_metric)
    if not metrics:
        return text_figure("Training logged nothing.")
    columns = min(range(3, 6), key=lambda many: (-len(metrics) % many, abs(many - 4)))
    columns = min(columns, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    figure = new_figure(11.0 if columns > 2 else 4.5 * columns, 2.1 * rows + 0.3)
    styles = {"train": (INK, "Training"), "valid": ("#d55e00", "Validation"), "test": ("#0072b2", "Test")}
    handles: dict[str, Any] = {}
    for number, metric in enumerate(metrics, start=1):
        axes = figure.add_subplot(rows, columns, number)
        for split, part in shown[shown["metric"] == metric].groupby("split", sort=True):
            color, label = styles.get(str(split), (MUTED, shown_text(split)))
            curve = part.groupby("epoch")["value"].mean()
            marker = "o" if len(curve) < 25 else None
            (line,) = axes.plot(curve.index, curve, color=color, linewidth=1.6, marker=marker, markersize=3.2)
            handles.setdefault(label, line)
        axes.set_title(readable(metric), fontsize=9)
        axes.grid(axis="y")
        axes.margins(x=0.03)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        if number > len(metrics) - columns:
            axes.set_xlabel("Epoch")
    figure.legend(list(handles.values()), list(handles), loc="outside upper right", ncols=3, fontsize=8.5)
    return figure


@matplotlib.rc_context(STYLE)
def comparison_figure(scores: pd.DataFrame, *, metric: str, chance: float | None) -> Figure:
    """Draw the score of every model as a dot with its interval, best on top, against chance.

    Parameters
    ----------
    scores : one row a model: model, value, low, high; low and high may be missing
    metric : what is scored, for the axis
    chance : score of a guess, or None
    """
    ordered = scores.sort_values("value", ascending=True)
    figure = new_figure(5.2, 0.42 * len(ordered) + 0.85)
    axes = figure.add_subplot()
    places = np.arange(len(ordered))
    if chance is not None and math.isfinite(chance):
        axes.axvline(chance, color="#d55e00", linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"chance {chance:.3f}", (chance, 1), xycoords=("data", "axes fraction"), xytext=(3, 2),
            textcoords="offset points", color="#b34a00", fontsize=8, va="bottom",
        )  # fmt: skip
    axes.hlines(places, ordered["low"], ordered["high"], color=ACCENT, linewidth=2.4, alpha=0.45, zorder=2)
    axes.plot(ordered["value"], places, "o", color=ACCENT, markersize=7, zorder=3)
    axes.set_yticks(places, [shown_text(name, longest=28, keep_end=4) for name in ordered["model"]], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    low = np.nanmin([*ordered["low"], *ordered["value"], 0.0])
    high = np.nanmax([*ordered["high"], *ordered["value"], chance or 0.0])
    axes.set_xlim(low, 1.0 if 0.5 < high <= 1.0 else high + 0.05 * (high - low or 1.0))
    axes.set_xlabel(readable(metric))
    return figure


@matplotlib.rc_context(STYLE)
def map_figure(
    points: NDArray[np.floating],
    obs: pd.DataFrame,
    *,
    reason: str = "",
    columns: int = 4,
    locations: int = 8,
) -> Figure:
    """Draw the map in small panels: one a location, with its proteins dark and all others grey, then one a level,
    its clusters numbered in place.

    Nothing depends on telling many colours apart: a location has a panel of its own, a cluster has its number.

    Parameters
    ----------
    points : (units, 2) positions
    obs : (units, ...) with level_1, level_2, ... and, where known, locations (";" between several)
    reason : why there is no map, if there is none
    columns : panels side by side
    locations : how many locations at most, the most frequent ones
    """
    if reason or not len(points):
        return text_figure(f"No map: {reason or 'there is nothing to place on it'}")
    panels = [("location", name) for name in frequent_locations(obs, most=locations)] or [("all", "")]
    levels = [("level", name) for name in level_columns(obs)]
    columns = min(columns, max(len(panels), len(levels)))
    # Levels start on a row of their own.
    panels += [("empty", "")] * (-len(panels) % columns if levels else 0) + levels
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(2.7 * columns, 2.75 * rows)
    size = float(np.clip(1800 / len(points), 3, 26))
    for number, (kind, name) in enumerate(panels, start=1):
        if kind == "empty":
            continue
        axes = figure.add_subplot(rows, columns, number)
        if kind == "level":
            _draw_level(axes, points, obs[name], size)
            many = obs[name].nunique()
            title = f"Level {name.removeprefix('level_')}: {many} cluster{'' if many == 1 else 's'}"
            axes.set_title(title, fontsize=9)
        else:
            inside = _has_location(obs, name) if kind == "location" else np.ones(len(obs), bool)
            _dots(axes, points[~inside], size, REST)
            _dots(axes, points[inside], size * 1.25, ACCENT)
            title = f"{shown_text(name, longest=24)} ({inside.sum()})" if kind == "location" else "All"
            axes.set_title(title, fontsize=9, parse_math=False)
        _square(axes, points)
    return figure


@matplotlib.rc_context(STYLE)
def quality_figure(fields: pd.DataFrame) -> Figure:
    """Draw what was measured of every field, a column of dots a cell line with its median; unusual fields are ringed.

    Parameters
    ----------
    fields : segmented fields, see `subcell.reporting.quality.field_quality`
    """
    measures = [name for name in MEASURES if fields[name].notna().any()]
    lines = sorted(fields["cell_line"].replace("", "not given").unique())[:MOST_LINES]
    figure = new_figure(11.0, 2.5 * math.ceil(len(measures) / 3) + 0.1 * len(lines))
    place = pd.Index(lines).get_indexer(pd.Index(fields["cell_line"].replace("", "not given")))
    # Spread by rank within a line, the same every time.
    beside = place + 0.5 * ((fields.groupby(place).cumcount().to_numpy() * 0.618) % 1 - 0.5)
    ringed = fields["unusual"].to_numpy() != ""
    for number, name in enumerate(measures, start=1):
        axes = figure.add_subplot(math.ceil(len(measures) / 3), 3, number)
        values = fields[name].to_numpy(float)
        known = np.isfinite(values) & (place >= 0)
        axes.scatter(
            beside[known], values[known], s=9, c=ACCENT, linewidths=0, alpha=0.7, rasterized=len(fields) > MANY_POINTS
        )
        medians = pd.Series(values[known]).groupby(place[known]).median()
        axes.hlines(medians, medians.index - 0.35, medians.index + 0.35, color=INK, linewidth=1.6)
        marked = known & ringed
        axes.scatter(beside[marked], values[marked], s=36, facecolors="none", edgecolors="#d55e00", linewidths=1.1)
        axes.set_title(MEASURES[name], fontsize=9)
        axes.set_xticks(range(len(lines)), [shown_text(line, longest=14) for line in lines], rotation=40, ha="right")
        axes.tick_params(axis="x", length=0, labelsize=7.5)
        axes.grid(axis="y")
        axes.set_ylim(bottom=0)
    return figure


@matplotlib.rc_context(STYLE)
def agreement_figure(table: pd.DataFrame) -> Figure:
    """Draw how far clusters agree with reference sets, the finer they are, beside shuffled labels and random vectors.

    Parameters
    ----------
    table : level (none for clusters between levels), clusters, reference, value, shuffled, random; measure, where it is said
    """
    references = sorted(table["reference"].astype(str).unique())
    columns = min(3, len(references))
    rows = math.ceil(len(references) / columns)
    figure = new_figure(3.7 * columns, 2.6 * rows)
    styles = {
        "value": ("This map", ACCENT, "-"),
        "shuffled": ("Shuffled", MUTED, ":"),
        "random": ("Random", "#d55e00", "--"),
    }
    handles: dict[str, Any] = {}
    for number, reference in enumerate(references, start=1):
        axes = figure.add_subplot(rows, columns, number)
        part = table[table["reference"].astype(str) == reference].sort_values("clusters", kind="stable")
        leveled = part.loc[part["level"].notna(), "clusters"]
        for column, (label, color, style) in styles.items():
            if column in part and part[column].notna().any():
                curve = part.groupby("clusters")[column].mean()
                marks = np.flatnonzero(curve.index.isin(leveled)).tolist()
                (line,) = axes.plot(
                    curve.index, curve, color=color, linestyle=style, marker="o", markersize=3.5, markevery=marks
                )
                handles.setdefault(label, line)
        axes.set_title(shown_text(reference, longest=32), fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("Clusters (points: levels of the map)")
        measure = str(part["measure"].iloc[0]) if "measure" in part else "agreement"
        axes.set_ylabel(shown_text(measure, longest=34).capitalize(), fontsize=8)
        axes.grid(axis="y")
    figure.legend(list(handles.values()), list(handles), loc="outside upper right", ncols=3, fontsize=8.5)
    return figure


def _draw_level(axes: Axes, points: NDArray[np.floating], clusters: pd.Series, size: float) -> None:
    """Clusters of one level in changing colours, each with its number beside one of its points where there is room."""
    names = sorted(clusters.astype(str).unique(), key=_by_number)
    codes = pd.Index(names).get_indexer(pd.Index(clusters.astype(str)))
    _dots(axes, points, size, [PALETTE[code % len(PALETTE)] for code in codes])
    for number, name in enumerate(names if len(names) <= MOST_NUMBERS else ()):
        x, y = _middle_point(points[codes == number])
        # Beside the point, with a white edge: a cluster of one would be hidden below its own number.
        axes.annotate(
            shown_text(name.rsplit(".", 1)[-1], longest=6),
            (x, y),
            xytext=(3.5, 3.5),
            textcoords="offset points",
            fontsize=8,
            weight="bold",
            color=INK,
            parse_math=False,
            path_effects=[Stroke(linewidth=2.2, foreground="white"), Normal()],
        )


def _middle_point(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """The point nearest to the median of all: a number between two halves of a cluster would stand on another one."""
    return points[np.abs(points - np.median(points, axis=0)).sum(axis=1).argmin()]


def _dots(axes: Axes, points: NDArray[np.floating], size: float, color: str | list[str]) -> None:
    axes.scatter(
        points[:, 0], points[:, 1], s=size, c=color, linewidths=0, alpha=0.9, rasterized=len(points) > MANY_POINTS
    )


def _square(axes: Axes, points: NDArray[np.floating]) -> None:
    """The same scale on both axes, all panels alike, no ticks: a UMAP's numbers mean nothing."""
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    half = max(float(np.ptp(points, axis=0).max()) / 2 * 1.08, 1e-6)
    axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
    axes.set(aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#dfe4ea")


def level_columns(obs: pd.DataFrame) -> list[str]:
    """Columns level_1, level_2, ... of a map, in that order."""
    found = [name for name in obs.columns if str(name).startswith("level_") and str(name)[6:].isdigit()]
    return sorted(found, key=lambda name: int(name[6:]))


def frequent_locations(obs: pd.DataFrame, *, most: int) -> list[str]:
    """Locations of a map that most of its units have, the most frequent first."""
    if "locations" not in obs:
        return []
    counts = obs["locations"].dropna().astype(str).str.split(";").explode().str.strip().value_counts()
    counts = counts[counts.index != ""]
    return sorted(counts.index, key=lambda name: (-counts[name], name))[:most]


def _has_location(obs: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    lists = obs["locations"].astype(object)
    return np.array([isinstance(text, str) and name in map(str.strip, text.split(";")) for text in lists], bool)


def _order_of_metric(metric: str) -> tuple[int, str]:
    """The total loss and the score that is to rise, then the terms of the loss, then what only diagnoses."""
    diagnosis = metric.startswith("embedding_") or metric in ("variance_rank", "gradient_norm", "learning_rate")
    first = ("loss", "macro_ap")
    return (first.index(metric) if metric in first else 3 if diagnosis else 2, metric)


def _by_number(name: str) -> tuple[Sequence[int], str]:
    """Order "2" before "10", and "1.2" before "1.10"."""
    parts = name.split(".")
    return ([int(part) for part in parts], "") if all(part.isdigit() for part in parts) else ([], name)


METRIC_NAMES: Mapping[str, str] = {
    "loss": "Loss",
    "reconstruction": "Reconstruction loss",
    "cell_specific": "Cell-specific loss",
    "protein_specific": "Protein-specific loss",
    "classifier": "Classifier loss",
    "embedding_std": "Spread of the vectors",
    "embedding_rank": "Effective rank of the vectors",
    "variance_rank": "Directions that hold the variance",
    "macro_ap": "Macro average precision",
    "micro_ap": "Micro average precision",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "macro_auc": "Macro area under the ROC curve",
    "label_ranking_ap": "Label ranking average precision",
    "mantel_r": "Mantel's r",
    "across_lines_map": "mAP, same antibody in another line",
    "independent_antibody_map": "mAP, another antibody of the gene",
    "antibody_share": "Variance share of the antibody",
    "antibody_and_well_share": "Variance share of antibody and well",
    "plate_mixing": "Mixing of plates",
    "cosine_auroc": "AUROC of the cosine",
    "compound_map": "mAP, same compound",
    "mechanism_map": "mAP, same mechanism",
    "structure_ap": "AP of the best head",
    "same_cell": "Share that finds itself",
    "external_macro_ap": "Macro AP elsewhere",
    "home_macro_ap": "Macro AP at home",
    "aggregated_jaccard": "Aggregated Jaccard index",
    "boundary_f": "Boundary F",
    "ap50": "AP at IoU 0.5",
    "ap50_95": "AP, mean over IoU 0.5 to 0.95",
    "f1_50": "F1 at IoU 0.5",
    "dna_intensity": "DNA intensity",
    "nucleus_area_um2": "Nucleus, µm²",
    "cell_area_um2": "Cell, µm²",
}
METRIC_SUBJECTS = {
    "nuclei": "Nuclei",
    "cells": "Cells",
    "protein": "Per protein",
    "linear": "Linear probe",
    "knn": "Nearest neighbours",
    "harmony": "After Harmony",
}


def readable(metric: str) -> str:
    """Name of a metric as a person writes it."""
    if metric in METRIC_NAMES:
        return METRIC_NAMES[metric]
    subject, _, rest = metric.partition("_")
    if subject in METRIC_SUBJECTS and rest:
        return f"{METRIC_SUBJECTS[subject]}: {readable(rest)}"
    name = shown_text(metric, longest=60).replace("_", " ")
    return name[:1].upper() + name[1:]
