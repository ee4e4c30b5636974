"""Which kind of segmentation model a name in the configuration means. Imports nothing: the workflow asks while it is parsed."""

from __future__ import annotations


def is_compact(model: str) -> bool:
    """Whether a model is a compact U-Net, ours or fine-tuned, rather than one of Cellpose's; its name says it."""
    return model == "compact" or model.endswith(".safetensors")
