"""Figures of the report, in the page and as files: each as SVG, and the numbers behind it as CSV."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from subcell.replacing import replacing
from subcell.reporting.figures.canvas import data_uri, figure_bytes
from subcell.reporting.figures.pictures import pixels_of_figure
from subcell.tables import table_text

LARGEST_CSV_IN_PAGE = 200_000
"""Longer tables are files only; the page says where."""


class Figures:
    """Collects the figures of a page, and writes them into a folder at the end."""

    def __init__(self, *, max_bytes: int) -> None:
        """max_bytes : what one figure may take in the page as lines; larger ones become pixels there"""
        self._max_bytes = max_bytes
        self._svg: dict[str, bytes] = {}
        self._csv: dict[str, bytes] = {}

    def add(self, name: str, figure: Figure, data: pd.DataFrame | None = None) -> dict[str, Any]:
        """Keep a figure and its data, and return what the page shows.

        Parameters
        ----------
        name : becomes the names of the files; what is no letter, digit, "_", "-" or "." becomes "-"
        figure : drawn once
        data : the numbers that the figure shows

        Returns
        -------
        {"id", "file", "uri", "width", "height", "kind": "svg" | "png", "csv": address or ""}
        """
        stem = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") or "figure"
        svg = figure_bytes(figure, "svg")
        self._svg[stem] = svg
        csv = b"" if data is None else table_text(data, delimiter=",", float_format="%.6g").encode()
        if csv:
            self._csv[stem] = csv
        width, height = (round(inches * 96) for inches in figure.get_size_inches())
        fits = len(svg) <= self._max_bytes
        uri = data_uri(svg, "image/svg+xml") if fits else data_uri(pixels_of_figure(figure), "image/png")
        return {
            "id": f"figure-{stem}",
            "file": stem,
            "uri": uri,
            "width": width,
            "height": height,
            "kind": "svg" if fits else "png",
            "csv": data_uri(csv, "text/csv;charset=utf-8") if 0 < len(csv) <= LARGEST_CSV_IN_PAGE else "",
        }

    def write(self, folder: str | Path) -> None:
        """Write all figures and tables into a folder, which they replace as a whole."""
        with replacing(folder) as to:
            to.mkdir()
            for suffix, files in (("svg", self._svg), ("csv", self._csv)):
                for stem, content in files.items():
                    (to / f"{stem}.{suffix}").write_bytes(content)
