"""How a map is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from subcell.atlas.clusters.hierarchy import PAPER_STEPS, Method
from subcell.atlas.units.summaries import Average
from subcell.atlas.units.units import Blocks, Unit


@dataclass(frozen=True)
class Settings:
    """How a map is made; the keys of the configuration's section `map`, which describes them.

    Attributes
    ----------
    downloads : name of a file -> where it lies; names of other files are looked up here
    """

    unit: Unit = "gene"
    average: Average = "mean"
    split_lines: bool = False
    filters: Mapping[str, Any] = field(default_factory=dict)
    batches: Sequence[str] = ()
    batches_within_line: bool = False
    min_cells: int = 1
    method: Method = "resolutions"
    levels: Sequence[float] = (0.1, 0.5, 1.0, 2.0)
    neighbors: int = 15
    umap_neighbors: int | None = None
    paper_levels: Sequence[tuple[float, int]] = PAPER_STEPS
    ladder: Mapping[str, Any] = field(
        default_factory=lambda: {"lowest": 0.05, "highest": 5.0, "rungs": 40, "most_levels": 8}
    )
    seeds: int = 20
    bootstraps: int = 10
    resample: Blocks = "field"
    stable_at: float = 0.75
    gene_sets: Sequence[Mapping[str, Any]] = ()
    interactions: Sequence[Mapping[str, Any]] = ()
    published: str | None = None
    published_counts: str | None = None
    findings: str | None = None
    enrichment: Mapping[str, Any] = field(default_factory=dict)
    curve: int = 12
    single_cells: int = 0
    seed: int = 42
    downloads: Mapping[str, str] = field(default_factory=dict)

    def file(self, name: str) -> str:
        return self.downloads.get(name, name)
