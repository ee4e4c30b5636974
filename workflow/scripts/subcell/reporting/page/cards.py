"""Cards of datasets and models: what they are, what they reach, and what they must not be used for. Markdown, a file each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.replacing import replacing
from subcell.reporting.page.model_section import describe_model
from subcell.reporting.scores.results import interval, number

LIMITS_OF_DATASETS = {
    "simulate": (
        "Simulated: scores test the workflow and say nothing of biology.",
        "Its difficulty was set before any model was trained, and is frozen by the version of the simulator.",
    ),
    "hpa": (
        "Locations are those of a field or gene, given to all of its cells: a cell may have another one.",
        "Images are 8-bit copies stretched for display; intensities cannot be compared between images.",
        "Most lines lie on plates of their own, so plates and lines cannot be told apart.",
    ),
    "subcell_crops": (
        "Locations are those of a field, given to all of its cells.",
        "Published antibody lists share genes between training and test part.",
    ),
    "embeddings": ("Only vectors are known: nothing can be said of images, segmentation or attention.",),
    "images": ("What the sheet says of a field is taken as true; labels of a field are given to all of its cells.",),
}
LIMITS_OF_MODELS = {
    "subcell": (
        "Trained with the antibody of a cell: weakly supervised, not free of labels.",
        "Its vectors hold the line, the plate and the field too; see the benchmark `batch`.",
        "Channels have fixed meanings; another stain in their place is a guess.",
    ),
    "random_vit": ("Untrained: a floor, no model to use.",),
    "shortcuts": ("Made to know nothing of proteins; where it scores well the benchmark says little.",),
    "handcrafted": ("Features chosen by hand; nothing is learned.",),
    "imported": ("Made elsewhere: what it was trained on, test proteins perhaps among it, is not known here.",),
}
TRAINED_ELSEWHERE = "Trained elsewhere: test proteins of this run may have been in its training data."


def write_cards(folder: str | Path, config: Mapping[str, Any], board: pd.DataFrame) -> None:
    """Write dataset_<name>.md and model_<name>.md into a folder, which they replace as a whole.

    Parameters
    ----------
    folder : to write
    config : the whole configuration
    board : see `subcell.reporting.scores.leaderboard`
    """
    with replacing(folder) as to:
        to.mkdir()
        for name, settings in config["datasets"].items():
            (to / f"dataset_{name}.md").write_text(dataset_card(name, settings, board), encoding="utf-8")
        for name, settings in config["models"].items():
            (to / f"model_{name}.md").write_text(model_card(name, settings, board), encoding="utf-8")


def dataset_card(name: str, settings: Mapping[str, Any], board: pd.DataFrame) -> str:
    """The card of one dataset."""
    source, split = settings["source"], settings.get("split") or {}
    scored = board[(board["dataset"] == name) & board["role"].isin(["model", "shortcut"])]
    flagged = scored.loc[scored["informative"].eq(False).fillna(False), "benchmark"].unique()
    limits = [*LIMITS_OF_DATASETS.get(source, ())]
    limits += [
        f"`{task}` is not informative here: shortcuts, or the plate alone, reach nearly as much as the best model."
        for task in flagged
    ]
    missing = settings.get("missing_channels") or []
    limits += [f"Stains that it lacks: {', '.join(missing)}."] if missing else []
    shares = f", {split['train']:.0%} train, {split['valid']:.0%} choose, the rest tests" if "train" in split else ""
    parts = f"split by {split['by']}{shares}" if split.get("by", "none") != "none" else "no split"
    units = scored.dropna(subset="n").drop_duplicates("benchmark")
    counts = [f"| {row.benchmark} | {row.n} {row.unit} |" for row in units.itertuples()]
    return _card(name, f"Dataset, source `{source}`; {parts}.", ["| benchmark | units |", "|---|---|", *counts], limits)


def model_card(name: str, settings: Mapping[str, Any], board: pd.DataFrame) -> str:
    """The card of one model, bad scores included."""
    kind, trained = settings["kind"], settings.get("train_on") or []
    about = describe_model(name, settings)
    words = [f"Model, kind `{kind}`: {about['words']}"]
    # Weights from elsewhere have no seed of ours.
    words += [f"seed `{settings['seed']}`"] if "seed" in settings and not about["elsewhere"] else []
    words += [f"trained on {', '.join(trained)} (training part)"] if trained else []
    words += [f"trained {about['elsewhere']}"] if about["elsewhere"] else []
    words += [f"weights: {weights['licence']}, {weights['source']}" for weights in about["weights"]]
    limits = [*LIMITS_OF_MODELS.get(kind, ())]
    if about["elsewhere"] and kind != "imported":
        limits.append(TRAINED_ELSEWHERE)
    rows = []
    for row in board[board["model"] == name].itertuples():
        if row.status != "ok":
            rows.append(f"| {row.dataset} | {row.benchmark} | not run: {row.reason} | | |")
            continue
        bounds = interval(row.low, row.high) or "no interval"
        rank = "" if pd.isna(row.rank) else str(row.rank)
        rows.append(
            f"| {row.dataset}{' (simulated)' if row.simulated else ''} | {row.benchmark} | {row.metric} {number(row.value)} "
            f"({bounds}) | {number(row.chance)} | {rank} |"
        )
    head = ["| dataset | benchmark | score (95% interval) | chance | rank |", "|---|---|---|---|---|"]
    return _card(name, ", ".join(words) + ".", [*head, *rows], limits)


def _card(name: str, words: str, table: Sequence[str], limits: Sequence[str]) -> str:
    listed = [f"- {limit}" for limit in limits] or ["- None is known; that is no statement that there is none."]
    return "\n".join([f"# {name}", "", words, "", *table, "", "## Limits", "", *listed, ""])
