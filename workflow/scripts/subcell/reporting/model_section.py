"""What the report says of the models: what they are, how they were trained, where they look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.reporting.exports import Figures
from subcell.reporting.figures import readable, training_figure
from subcell.reporting.pictures import inlined_picture

ATTENTION_ROWS = 60


def describe_model(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is, in words."""
    kind = settings.get("kind", "")
    size = settings.get("size", "")
    words = {
        "subcell": f"SubCell vision transformer ({size}), recipe {settings.get('recipe', '')}",
        "random_vit": f"The same network ({size}), untrained",
        "handcrafted": "Classical features: intensity, shape, texture",
        "shortcuts": "What must not suffice: cell count, areas, mean intensities, mask shape",
    }
    return {
        "name": name,
        "kind": kind,
        "words": words.get(kind, kind),
        "train_on": list(settings.get("train_on") or []),
        "settings": settings,
    }


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
        "reconstruction": inlined_picture(reconstruction, max_bytes=max_bytes) if reconstruction else None,
    }


def describe_attention(entry: Mapping[str, Any], *, max_bytes: int) -> dict[str, Any]:
    """Where one model looks in the cells of one dataset: overlays, and the table of what was measured.

    Parameters
    ----------
    entry : dataset, model, attention_tsv, overlays_png
    max_bytes : what the picture may take
    """
    rows = pd.read_csv(entry["attention_tsv"], sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    return {
        "dataset": entry["dataset"],
        "model": entry["model"],
        "picture": inlined_picture(entry["overlays_png"], max_bytes=max_bytes),
        "columns": list(map(str, rows.columns)),
        "rows": rows.head(ATTENTION_ROWS).to_numpy(object).tolist(),
        "more": max(0, len(rows) - ATTENTION_ROWS),
    }
