"""Halves of a screen: compounds and plates on which a way of processing is chosen, and others on which it is scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

LEAST_PLATES_TO_HALVE = 4
REPLICATES = 2
"""Plates on which a compound has to be, to be found on another one."""


@dataclass(frozen=True)
class Halves:
    """Half, 0 or 1, of each compound and plate.

    Attributes
    ----------
    compounds : compound -> half
    plates : plate -> half; None where all plates serve both halves
    why : why they do, "" where they do not
    """

    compounds: Mapping[str, int]
    plates: Mapping[str, int] | None
    why: str = ""


def halves(names: Iterable[object]) -> dict[str, int]:
    """Deal names to two halves of equal size by a hash of each: the same for every model."""
    ordered = sorted(map(str, names), key=lambda name: hashlib.sha256(name.encode()).digest())
    return {name: number % 2 for number, name in enumerate(ordered)}


def halve_screen(compound: Iterable[str], plate: Iterable[str]) -> Halves:
    """Deal compounds and plates so that each compound keeps its replicates in its half.

    Plates that share compounds, directly or through others, are halved where every compound then stands on two plates of its
    own half. Where that fails (a layout on two or three plates, say), they go to one half as a whole with their compounds.
    With nothing to stand against it, as with one layout on three plates, only the compounds are halved.

    Parameters
    ----------
    compound, plate : of each treated well
    """
    wells = pd.DataFrame({"compound": list(compound), "plate": list(plate)}).astype(str).drop_duplicates()
    of_compounds = halves(wells["compound"].unique())
    of_plates: dict[str, int] = {}
    whole = []
    for _, group in wells.groupby(_sharing(wells)):
        dealt = halves(group["plate"].unique())
        if len(dealt) >= LEAST_PLATES_TO_HALVE and _keep_replicates(group, of_compounds, dealt):
            of_plates |= dealt
        else:
            whole.append(group)
    # The largest first, each to the half that has fewer plates.
    for group in sorted(whole, key=lambda group: (-group["plate"].nunique(), group["plate"].min())):
        filled = [sum(half == number for half in of_plates.values()) for number in (0, 1)]
        half = int(filled[1] < filled[0])
        of_plates |= dict.fromkeys(group["plate"], half)
        of_compounds |= dict.fromkeys(group["compound"], half)
    found = wells.groupby("compound")["plate"].nunique()
    replicated = {of_compounds[name] for name in found.index[found >= REPLICATES]}
    if replicated == {0, 1}:
        return Halves(of_compounds, of_plates)
    return Halves(halves(wells["compound"].unique()), None, "halves of the plates would part replicates")


def _keep_replicates(wells: pd.DataFrame, compounds: Mapping[str, int], plates: Mapping[str, int]) -> bool:
    """Whether each compound that stands on two plates stands on two of its own half."""
    own = wells["plate"].map(plates) == wells["compound"].map(compounds)
    everywhere = wells.groupby("compound")["plate"].nunique()
    there = wells[own].groupby("compound")["plate"].nunique().reindex(everywhere.index, fill_value=0)
    return bool((there[everywhere >= REPLICATES] >= REPLICATES).all())


def _sharing(wells: pd.DataFrame) -> np.ndarray:
    """Number of the group of plates, joined by compounds, that each row is of."""
    compound, plate = (pd.factorize(wells[name])[0] for name in ("compound", "plate"))
    places = sparse.csr_array((np.ones(len(wells)), (plate, compound)))
    return sparse.csgraph.connected_components(places @ places.T, directed=False)[1][plate]
