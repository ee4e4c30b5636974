"""Software of all rules: what their environments pin, what is installed here, and under which licence."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from subcell.segmentation.kinds import is_compact

PIN = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*==\s*([^\s;]+)")

CITATIONS = {
    "subcell": ("Gupta et al. SubCell: vision foundation models for microscopy capture single-cell biology. bioRxiv (2024).",
                "10.1101/2024.12.06.627299"),
    "cellpose": ("Stringer et al. Cellpose: a generalist algorithm for cellular segmentation. Nature Methods 18 (2021).",
                 "10.1038/s41592-020-01018-x"),
    "cellpose-sam": ("Pachitariu et al. Cellpose-SAM: superhuman generalization for cellular segmentation. bioRxiv (2025).",
                     "10.1101/2025.04.28.651001"),
    "leiden": ("Traag et al. From Louvain to Leiden: guaranteeing well-connected communities. Scientific Reports 9 (2019).",
               "10.1038/s41598-019-41695-z"),
    "umap": ("McInnes et al. UMAP: uniform manifold approximation and projection for dimension reduction. arXiv (2018).",
             "10.48550/arXiv.1802.03426"),
    "snakemake": ("Mölder et al. Sustainable data analysis with Snakemake. F1000Research 10 (2021).",
                  "10.12688/f1000research.29032.2"),
    "harmony": ("Korsunsky et al. Fast, sensitive and accurate integration of single-cell data with Harmony. "
                "Nature Methods 16 (2019).",
                "10.1038/s41592-019-0619-0"),
    "basic": ("Peng et al. A BaSiC tool for background and shading correction of optical microscopy images. "
              "Nature Communications 8 (2017).", "10.1038/ncomms14836"),
    "dino4cells": ("Doron et al. Unbiased single-cell morphology with self-supervised vision transformers. bioRxiv (2023).",
                   "10.1101/2023.06.16.545359"),
    "bestfitting": ("Ouyang et al. Analysis of the Human Protein Atlas Image Classification competition. "
                    "Nature Methods 16 (2019).", "10.1038/s41592-019-0658-6"),
    "hpa": ("Thul et al. A subcellular map of the human proteome. Science 356 (2017).", "10.1126/science.aal3321"),
}  # fmt: skip
"""Key -> what to cite and its DOI, in the order in which they are numbered."""


def cited(config: Mapping[str, Any], *, from_hpa: bool, segmented: bool) -> dict[str, dict[str, Any]]:
    """What a run has to cite, key -> {number, text, doi}; `segmented`: it found cells itself."""
    kinds = {settings.get("kind") for settings in config.get("models", {}).values()}
    wanted = {"snakemake"} | (kinds & {"subcell", "dino4cells", "bestfitting"})
    segmentation = config.get("segmentation", {}) if segmented else {"model": None}
    for model in filter(None, (segmentation.get("model", "compact"), segmentation.get("compare_with"))):
        # Compact networks predict Cellpose's flows; all that Cellpose 4 itself loads are Cellpose-SAM.
        wanted.add("cellpose" if is_compact(model) else "cellpose-sam")
    if settings := config.get("map"):
        wanted |= {"leiden", "umap"} | ({"harmony"} if settings.get("batches") else set())
        wanted |= {"subcell"} if settings.get("method") == "paper" else set()
    if any((dataset.get("camera") or {}).get("flat_field") for dataset in config.get("datasets", {}).values()):
        wanted.add("basic")
    if from_hpa:
        wanted.add("hpa")
    chosen = [key for key in CITATIONS if key in wanted]
    return {
        key: {"number": number, "text": CITATIONS[key][0], "doi": CITATIONS[key][1]}
        for number, key in enumerate(chosen, start=1)
    }


def commit_of(folder: str | Path) -> str:
    """Commit of the repository whose top a folder is, as git describes it, with `-dirty` where files differ; else empty."""

    def git(*arguments: str) -> str:
        said = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=60
        )
        return said.stdout.strip()

    try:
        # A copy without its history may lie in somebody else's repository.
        own = Path(git("rev-parse", "--show-toplevel")).resolve() == Path(folder).resolve()
        return git("describe", "--always", "--dirty", "--tags") if own else ""
    except (OSError, subprocess.SubprocessError):
        return ""


def address_of(folder: str | Path) -> str:
    """Where the repository of a folder was cloned from, if anybody can open it in a browser; else empty."""
    if not commit_of(folder):
        return ""
    told = subprocess.run(
        ["git", "-C", str(folder), "remote", "get-url", "origin"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout.strip()
    parts = urlsplit(told)
    # What stands before the host may be a password.
    host = parts.netloc.rpartition("@")[2]
    return f"https://{host}{parts.path.removesuffix('.git')}" if parts.scheme == "https" and host else ""


def read_environments(paths: Iterable[str | Path]) -> dict[str, dict[str, str]]:
    """Package -> environment -> version, of all conda environment files; packages by name."""
    found: dict[str, dict[str, str]] = {}
    for path in map(Path, paths):
        listed = yaml.safe_load(path.read_text(encoding="utf-8")).get("dependencies", [])
        pinned = [item for entry in listed if isinstance(entry, Mapping) for item in entry.get("pip", [])]
        for item in pinned:
            match = PIN.match(item)
            if match:
                found.setdefault(match[1].lower().replace("_", "-"), {})[path.stem] = match[2]
    return dict(sorted(found.items()))


def software_table(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """One row a package of any environment, Python and Snakemake first: name, version, environments, installed, licence.

    `installed` is the version in the environment that writes the report, "" where the package belongs to another one.
    """
    python = {"version": "", "environments": "all", "installed": platform.python_version(), "licence": "PSF-2.0"}
    rows = [{"name": "python", **python}]
    rows.append({"name": "snakemake", "version": "", "environments": "the run itself", **_installed("snakemake")})
    for name, versions in read_environments(paths).items():
        row = {"name": name, "version": ", ".join(sorted(set(versions.values()))), "environments": ", ".join(versions)}
        rows.append({**row, **_installed(name)})
    return rows


def installed_version(name: str) -> str:
    """Version of a package in this environment, "" where it is not installed."""
    return _installed(name)["installed"]


def _installed(name: str) -> dict[str, str]:
    try:
        about = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return {"installed": "", "licence": ""}
    return {"installed": about["Version"] or "", "licence": _licence(about)}


def _licence(about: Any) -> str:
    """The licence as a package states it: its expression, else its classifiers, else the first line of its text."""
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classified = [
        line.rsplit("::", 1)[1].strip() for line in about.get_all("Classifier", []) if line.startswith("License ::")
    ]
    classified = [name for name in classified if name != "OSI Approved"]
    stated = str(about.get("License") or "").strip().splitlines()
    return ", ".join(classified) or (stated[0][:60] if stated else "not stated")
