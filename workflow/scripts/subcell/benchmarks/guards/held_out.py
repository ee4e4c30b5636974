"""Localization when something else is held out than proteins: antibodies of known genes, lines, genes never seen at all.

Antibodies and lines are kept from a linear probe only. A network that was trained on the dataset has learned from them, the
antibodies as labels: of such a network these scores say what its vectors lend to a probe, not what they are worth on what
it never saw. Genes without any antibody in training were kept from both, and are scored by the classifiers of the headline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.guards.leakage import any_of
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.probes.probes import linear_probe

HEADLINE = "macro_ap"


@dataclass(frozen=True)
class Asked:
    """Cells that a probe is trained on or scored on.

    Attributes
    ----------
    cells : with `gene`, `antibody`, `cell_line` where known
    features : (N, D) standardised
    truth : (N, C) locations
    sides : train, valid and test -> (N,)
    units : (N,) antibodies or genes that are resampled
    counted : keywords of `frozen.score`
    min_units : held-out units that a location needs
    """

    cells: frozen.Cells
    features: NDArray[np.float32]
    truth: NDArray[np.bool_]
    sides: Mapping[str, NDArray[np.bool_]]
    units: pd.Series
    counted: Mapping[str, Any]
    min_units: int

    def names(self, column: str) -> NDArray[Any]:
        """A column of the table of cells, (N,), None where unknown."""
        return self.cells.column(column).to_numpy(object)

    def probe(self, **sides: NDArray[np.bool_]) -> NDArray[np.floating]:
        """What a linear probe says of test cells when sides are others, (test cells, C)."""
        where = {**self.sides, **sides}
        return linear_probe(self.features, self.truth, train=where["train"], valid=where["valid"], test=where["test"])

    def classes_in(self, rows: NDArray[np.bool_]) -> list[int]:
        """Numbers of the locations that enough proteins of some cells have, and not all of the cells."""
        many = [self.units[rows & has].nunique() >= self.min_units and not has[rows].all() for has in self.truth.T]
        return [number for number, enough in enumerate(many) if enough]

    def score(self, name: str, rows: NDArray[np.bool_], said: NDArray[np.floating]) -> tuple[frozen.Scores, str]:
        """Macro AP of some cells, over `classes_in` them; or what it needs."""
        held = self.classes_in(rows)
        if len(held) < 2:
            needed = f"needs two locations, each of {self.min_units} held-out proteins of this kind (found {len(held)})"
            return frozen.Scores([], {}), needed
        truth, drawn = self.truth[rows][:, held], self.units[rows].to_numpy(str)
        return frozen.score([HEADLINE], truth, said[:, held], drawn, **self.counted, prefix=name), ""


def held_out_otherwise(asked: Asked) -> tuple[frozen.Scores, dict[str, str]]:
    """Scores of the linear probe when something else is held out than genes.

    Returns
    -------
    scores : `held_out_antibody_macro_ap`, of antibodies that were left out of training while another antibody of their
        gene stayed; `held_out_line_macro_ap`, of test proteins in lines that were left out of training, each line in turn.
        With labels of genes a line tells nothing new, and the last is called `line_invariance_macro_ap`
    not_given : score -> what it needs
    """
    of_genes = bool((asked.cells.column("label_level") == "gene").any())
    parts = {
        "held_out_antibody_": _held_out_antibodies(asked),
        "line_invariance_" if of_genes else "held_out_line_": _held_out_lines(asked),
    }
    scores, not_given = frozen.Scores([], {}), {}
    for name, part in parts.items():
        found, reason = (frozen.Scores([], {}), part) if isinstance(part, str) else asked.score(name, *part)
        scores += found
        if reason:
            not_given[f"{name}{HEADLINE}"] = reason
    return scores, not_given


def unseen_genes(
    asked: Asked, probabilities: NDArray[np.floating], *, trained: set[str], unknown: int
) -> tuple[frozen.Scores, list[int], str]:
    """Score of test genes without any antibody in training, by the classifiers themselves; empty where all are such.

    Parameters
    ----------
    probabilities : (test cells, C) what the classifiers say
    trained, unknown : see `subcell.benchmarks.guards.leakage.training_genes`

    Returns
    -------
    scores : `unseen_gene_macro_ap`
    classes : numbers of those that it is the mean of: they may be fewer than of the other scores
    reason : what it needs, or nothing
    """
    none = frozen.Scores([], {})
    if unknown:
        return none, [], f"needs the gene of every training antibody ({unknown} of those listed lack it)"
    gene, test = asked.cells.column("gene"), asked.sides["test"]
    seen = any_of(gene, trained)
    rows = test & gene.notna().to_numpy() & ~seen
    if not (test & seen).any():
        return none, [], ""
    scores, reason = asked.score("unseen_gene_", rows, probabilities[rows[test]])
    return scores, [] if reason else asked.classes_in(rows), reason


def of_the_probe_only(scores: frozen.Scores) -> dict[str, str]:
    """What must be said beside scores of `held_out_otherwise`; nothing where there are none."""
    names = ", ".join(metric.metric for metric in scores.metrics)
    limit = "held out from the linear probe only; a network that was trained on this dataset has seen them"
    return {"held_out_otherwise": f"{names}: antibodies or lines {limit}"} if names else {}


Said = tuple[NDArray[np.bool_], NDArray[np.floating]]
"""Cells that are scored, (N,), and what was said of them."""


def _held_out_antibodies(asked: Asked) -> Said | str:
    """Training antibodies but for the first of each gene."""
    train = asked.sides["train"]
    pairs = pd.DataFrame({name: asked.names(name)[train] for name in ("gene", "antibody")}).dropna().drop_duplicates()
    pairs = pairs.sort_values(["gene", "antibody"])
    seconds = set(pairs.loc[pairs["gene"].duplicated(), "antibody"].astype(str))
    rows = train & np.isin(asked.names("antibody").astype(str), list(seconds))
    if not rows.any():
        return "needs training genes with two antibodies"
    return rows, asked.probe(train=train & ~rows, test=rows)


def _held_out_lines(asked: Asked) -> Said | str:
    """Test cells, each by a probe that never saw its line."""
    line, sides = asked.names("cell_line"), asked.sides
    said = np.full(asked.truth.shape, np.nan)
    lines = sorted({name for name in line if name is not None})
    for name in lines:
        there = line == name
        rows = {"train": sides["train"] & ~there, "valid": sides["valid"] & ~there, "test": sides["test"] & there}
        if rows["train"].any() and rows["test"].any():
            said[rows["test"]] = linear_probe(asked.features, asked.truth, **rows, penalties=(100.0,))
    rows = sides["test"] & np.isfinite(said[:, 0])
    return (rows, said[rows]) if len(lines) > 1 and rows.any() else "needs two cell lines with training and test cells"
