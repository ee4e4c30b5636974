"""What the report says of the models: what they are, how they were trained, where they look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.catalog.released import CHANNEL_SETS, VARIANTS, released_name, weight_files
from subcell.reporting.figures.exports import Figures
from subcell.reporting.figures.figures import readable, training_figure
from subcell.reporting.figures.pictures import inlined_picture
from subcell.tables import read_table

ATTENTION_ROWS = 60


def describe_model(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is, in words.

    Returns
    -------
    name, kind, words, settings; train_on: datasets of this run; elsewhere: where else it was trained, to follow the word, ""
    where it was not; weights: of weights from elsewhere, {"licence", "source"} as resources/weights.tsv states them
    """
    kind = settings.get("kind", "")
    size, file = settings.get("size", ""), settings.get("checkpoint")
    pretrained = kind == "timm" and settings.get("pretrained") and not file
    words = {
        "subcell": _subcell(settings),
        "random_vit": f"SubCell's network ({size}), untrained",
        "dino4cells": "DINO4Cells: vision transformer trained without labels",
        "bestfitting": "Supervised network of the team bestfitting, of HPA's Kaggle challenge",
        "timm": f"{settings.get('architecture', '')} of timm{'' if file or pretrained else ', untrained'}",
        "imported": "A model of which the vectors alone are known",
        "handcrafted": "Classical features: intensity, shape, texture",
        "shortcuts": "What must not suffice: cell count, areas, mean intensities, mask shape",
    }
    return {
        "name": name,
        "kind": kind,
        "words": words.get(kind, kind),
        "train_on": list(settings.get("train_on") or []),
        "elsewhere": _trained_elsewhere(settings),
        "weights": weights_of(settings),
        "settings": settings,
    }


def _subcell(settings: Mapping[str, Any]) -> str:
    """A SubCell network; of a checkpoint the file knows what it is, and the settings do not."""
    if settings.get("released"):
        variant = VARIANTS.get(settings.get("recipe", ""), "")
        return f"Released SubCell network (ViT-B/16), {variant}, channels: {settings['released']}"
    if settings.get("checkpoint"):
        return "SubCell vision transformer, as in its checkpoint"
    return f"SubCell vision transformer ({settings.get('size', '')}), recipe {settings.get('recipe', '')}"


def _trained_elsewhere(settings: Mapping[str, Any]) -> str:
    """Where a model was trained other than in this run, as far as it is known; "" where it was not."""
    kind, file = settings.get("kind"), settings.get("checkpoint")
    if kind == "imported":
        return "elsewhere"
    if settings.get("released"):
        return "on the Human Protein Atlas v23"
    if kind in ("dino4cells", "bestfitting"):
        return f"on images of the Human Protein Atlas ({file})"
    if file:
        return f"elsewhere ({file})"
    return "elsewhere (timm's weights)" if kind == "timm" and settings.get("pretrained") else ""


def weights_of(settings: Mapping[str, Any]) -> list[dict[str, str]]:
    """Licence and source of released weights that a model uses, each once."""
    kind, released = settings.get("kind"), settings.get("released")
    if released:
        channels = CHANNEL_SETS if released == "auto" else [released]
        rows = [row for name in channels for row in weight_files(released_name(name, settings["recipe"]))]
    elif kind in ("dino4cells", "bestfitting"):
        rows = [row for row in weight_files() if row.name.startswith(kind)]
    elif kind == "timm" and settings.get("pretrained") and not settings.get("checkpoint"):
        page = f"https://huggingface.co/timm/{settings['architecture']}"
        return [{"licence": "as its page states", "source": page}]
    else:
        return []
    return [
        {"licence": licence, "source": source} for licence, source in dict.fromkeys((r.licence, r.source) for r in rows)
    ]


FALLEN = 0.95
"""Share of the best validation score below which the last one counts as fallen."""


def describe_training(
    name: str, curves: str | Path, figures: Figures, *, reconstruction: str | Path | None, max_bytes: int
) -> dict[str, Any]:
    """Curves of one training, and its panel of reconstructed cells where it wrote one."""
    training = pd.read_parquet(curves)
    return {
        "model": name,
        "figure": figures.add(f"{name}_training", training_figure(training), training),
        "epochs": None if training.empty else int(training["epoch"].max()),
        "steps": None if training.empty else int(training["step"].max()),
        "metrics": [readable(metric) for metric in sorted(training["metric"].unique())],
        "warnings": training_warnings(training),
        "reconstruction": inlined_picture(reconstruction, max_bytes=max_bytes) if reconstruction else None,
    }


def training_warnings(training: pd.DataFrame) -> list[str]:
    """What is wrong with a training, a sentence each.

    Parameters
    ----------
    training : step, epoch, split, metric, value; `plateau` and `collapsed` are there where they were noticed
    """
    sentences = []
    for metric, words in (
        ("plateau", "A contrastive loss was within 2% of chance"),
        ("collapsed", "Vectors had collapsed"),
    ):
        epochs = sorted(training.loc[training["metric"] == metric, "epoch"].unique())
        if epochs:
            sentences.append(
                f"{words} after {'epoch' if len(epochs) == 1 else 'epochs'} {', '.join(map(str, epochs))}."
            )
    watched = training[(training["metric"] == "macro_ap") & (training["split"] == "valid")].sort_values("epoch")
    if len(watched) > 1:
        best, last = watched.loc[watched["value"].idxmax()], watched.iloc[-1]
        if last["value"] < best["value"] * FALLEN:
            sentences.append(
                f"Average precision on validation cells was highest after epoch {best['epoch']} ({best['value']:.3f}) and fell "
                f"to {last['value']:.3f}: shorten the training, or keep the best weights with `select: macro_ap`."
            )
    return sentences


def describe_attention(entry: Mapping[str, Any], *, max_bytes: int) -> dict[str, Any]:
    """Where one model looks in the cells of one dataset: overlays, and the table of what was measured.

    Parameters
    ----------
    entry : dataset, model, attention_tsv, overlays_png
    max_bytes : what the picture may take
    """
    rows = read_table(entry["attention_tsv"], dtype=str, keep_default_na=False)
    return {
        "dataset": entry["dataset"],
        "model": entry["model"],
        "picture": inlined_picture(entry["overlays_png"], max_bytes=max_bytes),
        "columns": list(map(str, rows.columns)),
        "rows": rows.head(ATTENTION_ROWS).to_numpy(object).tolist(),
        "more": max(0, len(rows) - ATTENTION_ROWS),
    }
