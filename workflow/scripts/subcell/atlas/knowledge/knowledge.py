"""What is known of the units of a map: terms they have, and pairs that are related."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.atlas.clusters.settings import Settings
from subcell.atlas.knowledge.agreement import Pairs, interacting, sharing
from subcell.atlas.knowledge.gene_sets import Membership, of_columns, of_units, read_gene_sets


def read_knowledge(
    obs: pd.DataFrame, settings: Settings
) -> tuple[Membership | None, list[Membership], list[Membership]]:
    """What is known of the units: their own locations, sets of genes from files, and controls that should be nothing.

    Returns
    -------
    locations, which come from the very images that are mapped and are marked so; sources; plate, microscope and width of
    the images, where they differ and do not repeat each other
    """
    if settings.unit == "compound":
        # One antibody or stain shows all of them, and each is a statement of its own.
        obs = obs.drop(columns=["antibody", "gene"], errors="ignore")
    locations = None
    if "locations" in obs and obs["locations"].notna().any():
        locations = of_columns(obs, "locations", independent=False)
    sources = []
    for entry in settings.gene_sets:
        options = {
            key: entry[key] for key in ("independent", "aspect", "exclude_assigned_by") if entry.get(key) is not None
        }
        ontology = settings.file(entry["ontology"]) if entry.get("ontology") else None
        sets = read_gene_sets(settings.file(entry["file"]), entry["name"], ontology=ontology, **options)
        sources.append(of_units(sets, obs))
    controls: list[Membership] = []
    seen: list[NDArray[np.int_]] = []
    for column in ("plate", "microscope", "image_width_px"):
        codes = np.asarray(pd.factorize(obs[column])[0]) if column in obs else np.zeros(0, int)
        if codes.max(initial=-1) > 0 and not any(np.array_equal(codes, other) for other in seen):
            controls.append(of_columns(obs, column, independent=True, control=True))
            seen.append(codes)
    return locations, sources, controls


def read_related(
    obs: pd.DataFrame, locations: Membership | None, sources: Sequence[Membership], settings: Settings
) -> list[Pairs]:
    """Pairs of units that share a location, a set of a source with `pairs`, or an interaction."""
    related = [sharing(locations, obs, seed=settings.seed)] if locations is not None else []
    by_name = {member.name: member for member in sources}
    related += [
        sharing(by_name[entry["name"]], obs, seed=settings.seed) for entry in settings.gene_sets if entry.get("pairs")
    ]
    return related + [
        interacting(
            settings.file(entry["file"]),
            entry["name"],
            obs,
            min_score=entry.get("min_score", 0),
            aliases=settings.file(entry["aliases"]) if entry.get("aliases") else None,
        )
        for entry in settings.interactions
    ]
