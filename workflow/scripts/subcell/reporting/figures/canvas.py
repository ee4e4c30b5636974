"""One look for all figures, drawn without a screen and the same bytes every time."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import Any, Literal

import matplotlib
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from subcell.replacing import replacing

INK, MUTED, FAINT, ACCENT = "#1b2430", "#5b6775", "#dfe4ea", "#0b6e75"

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d31")
"""Okabe and Ito's colours without black and yellow, and two more: told apart with any kind of colour vision."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#b4bdc7",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.linewidth": 0.8,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "figure.facecolor": "white",
    "legend.frameon": False,
    "svg.hashsalt": "subcell",
    "svg.fonttype": "path",
    # Text of a sheet is text: a gene called $a$ is no formula.
    "text.parse_math": False,
}


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure of a size in inches, with a canvas but no window; None leaves placing axes to the caller."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def text_figure(text: str, *, width: float = 7.0, height: float = 1.2) -> Figure:
    """A figure that only says why there is nothing to see."""
    figure = new_figure(width, height)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, wrap=True, parse_math=False)
    return figure


def figure_bytes(figure: Figure, kind: str, *, dpi: int = 144) -> bytes:
    """Draw a figure as "svg" or "png", without the time of drawing in it."""
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the page itself has the text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 144) -> None:
    """Write a figure under its final name only when it is whole; the name's ending says the format."""
    with replacing(path) as to:
        to.write_bytes(figure_bytes(figure, to.suffix.lstrip("."), dpi=dpi))


def data_uri(content: bytes, media_type: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def shown_text(value: object, *, longest: int = 40, keep_end: int = 0) -> str:
    """Text of a sheet for a figure: one line, no control characters, cut where it is too long; "" when missing.

    `keep_end` characters of the end stay, for names that only their ends tell apart.
    """
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    if len(line) <= longest:
        return line
    return line[: longest - 1 - keep_end].rstrip() + "…" + (line[-keep_end:] if keep_end else "")


def with_commas(locations: object) -> object:
    """Locations as a person lists them."""
    return locations.replace(";", ", ") if isinstance(locations, str) else locations
