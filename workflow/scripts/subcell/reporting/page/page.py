"""The page as one HTML file: templates, one style sheet, one script, and a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from subcell.names import plural
from subcell.reporting.explorer.packing import inert_json
from subcell.reporting.figures.figures import readable
from subcell.reporting.provenance.runtime import duration
from subcell.reporting.scores import results as scores

SCRIPTS = ("page", "map_data", "points", "colouring", "tree", "unit", "explorer", "start")
"""Parts of the script, in the order in which they need each other."""

TEMPLATES = ("report", "parts", "explorer", "scores", "data", "models", "run", "methods")
STYLE = "report.css"


def page_files() -> tuple[str, ...]:
    """Names of all files that the page is made of."""
    return (*(f"{name}.html.j2" for name in TEMPLATES), STYLE, *(f"{name}.js" for name in SCRIPTS))


def render_page(templates: str | Path, page: Mapping[str, Any]) -> str:
    """Render the report.

    Parameters
    ----------
    templates : folder with `page_files`
    page : what the templates show; every text in it is escaped

    Notes
    -----
    The policy names the style sheet and the script by hash, so nothing else is applied or run, whatever a sheet brings
    into the page. Data stand in script elements of the type application/json, which browsers never run.
    """
    folder = Path(templates)
    style = (folder / STYLE).read_text(encoding="utf-8")
    parts = "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{parts}\n}})();\n'
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    inline = {"style": Markup(style), "script": Markup(script), "policy": policy}
    return _environment(folder).get_template("report.html.j2").render({**page, **inline}).lstrip()


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _environment(folder: Path) -> Environment:
    """Templates in which every value is escaped, and a name that does not exist is an error."""
    environment = Environment(loader=FileSystemLoader(str(folder)), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(
        number=scores.number,
        grouped=scores.grouped,
        counted=scores.counted,
        plural=plural,
        readable=readable,
        duration=duration,
        signed=scores.signed,
        rank_text=scores.rank_as_text,
        p_text=scores.p_as_text,
        interval=lambda metric: scores.interval(*metric),
        inert_json=lambda value: Markup(inert_json(value)),
    )
    return environment
