"""Cell lines: what their cells look like, how densely they grow, and which genes they express."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr

from subcell.sources.simulate.settings import Settings
from subcell.sources.simulate.streams import stream

CELL_LINES = (
    *("U-2 OS", "A-431", "U-251MG", "HeLa", "HEK293", "MCF-7", "Hep-G2", "A-549", "PC-3", "Rh30", "SH-SY5Y", "CACO-2"),
    *("RT-4", "SiHa", "HAP1", "K-562", "HL-60", "THP-1", "NB-4", "REH", "JURKAT", "HEL", "SK-MEL-30", "BJ"),
    *("hTERT-RPE1", "HaCaT", "HUVEC TERT2", "LHCN-M2", "ASC TERT1", "fHDF/TERT166", "OE19", "EFO-21"),
)
"""Names of lines; the first one is on every antibody, as in HPA. What a line looks like follows from the seed."""

UNSEEN_LINES = ("HBEC3-KT", "HDLM-2", "GAMG", "NTERA-2", "AF22", "SuSa", "BEWO", "PODO/TERT256")
"""Names of lines that only datasets with `unseen_lines` have."""

TRAITS = 4
"""Latent traits of a line that shape its cells and drive its expression."""

OTHER_GENES = 600
"""Genes that are expressed and never imaged."""

Kind = Literal["usual", "looks", "expression"]


@dataclass(frozen=True)
class Line:
    """What the cells of one line look like; lengths in micrometres.

    Attributes
    ----------
    radius_um, elongation, roughness, spikes : outline of the cell: radius of a disc of its area, long over short axis,
        size of bulges (share of the radius), mean number of protrusions
    nucleus_um, nucleus_elongation, nucleus_roughness : the same of the nucleus
    nucleoli : mean number in a nucleus
    chromatin : contrast of the DNA texture
    filaments : microtubules a cell
    curl : how much microtubules bend, radians a micrometre
    er_reach_um : distance from the nucleus over which the ER thins out
    clumping : 0 cells keep apart, 1 they gather
    density : number of cells relative to other lines
    floating : share of cells that have rounded up and float above the others
    er_gain : brightness of the ER stain relative to other cells
    """

    radius_um: float
    elongation: float
    roughness: float
    spikes: float
    nucleus_um: float
    nucleus_elongation: float
    nucleus_roughness: float
    nucleoli: float
    chromatin: float
    filaments: int
    curl: float
    er_reach_um: float
    clumping: float
    density: float = 1.0
    floating: float = 0.02
    er_gain: float = 1.0


def line_names(settings: Settings) -> tuple[str, ...]:
    """Names of a dataset's lines, those that no other dataset has last."""
    seen = settings.cell_lines - settings.unseen_lines
    more = (f"Line {number}" for number in range(len(CELL_LINES) + 1, seen + 1))
    other = (f"Unseen line {number}" for number in range(len(UNSEEN_LINES) + 1, settings.unseen_lines + 1))
    return (*(*CELL_LINES, *more)[:seen], *(*UNSEEN_LINES, *other)[: settings.unseen_lines])


def kind_of(name: str) -> tuple[Kind, str]:
    """Whether a line is a twin of another: one in eight only looks different, one in eight only expresses other genes.

    Returns
    -------
    kind : `looks` differs from its twin in looks alone, `expression` in expression alone
    twin : the line that it otherwise equals; itself for a usual line
    """
    place = CELL_LINES.index(name) if name in CELL_LINES else -1
    if place % 8 == 5:
        return "expression", CELL_LINES[place - 3]
    if place % 8 == 6:
        return "looks", CELL_LINES[place - 3]
    return "usual", name


def looks_traits(name: str, *, seed: int) -> np.ndarray:
    """Latent traits that shape the cells of a line, (TRAITS,), standard normal over lines."""
    kind, twin = kind_of(name)
    return stream(seed, "traits", twin if kind == "expression" else name).normal(size=TRAITS)


def expression_traits(name: str, *, seed: int, linked: bool = True) -> np.ndarray:
    """Latent traits that drive the expression of a line, (TRAITS,); its looks' own unless it is a twin.

    Parameters
    ----------
    name, seed : of the line
    linked : whether expression has anything to do with looks
    """
    kind, twin = kind_of(name)
    about = "traits" if linked and kind != "expression" else "expression traits"
    return stream(seed, about, twin if kind == "looks" else name).normal(size=TRAITS)


def draw_line(name: str, *, seed: int) -> Line:
    """Draw what a line looks like; the same seed and name give the same line.

    Each measure of a cell is a mixture of the line's latent traits and a part of its own. Density is drawn apart: it
    says nothing of looks or expression.
    """
    kind, twin = kind_of(name)
    own = stream(seed, "line", twin if kind == "expression" else name)
    growth = stream(seed, "growth", name)
    loadings = stream(seed, "loadings").normal(size=(12, TRAITS))
    loadings /= np.linalg.norm(loadings, axis=1, keepdims=True)
    score = ndtr(0.9 * loadings @ looks_traits(name, seed=seed) + np.sqrt(1 - 0.9**2) * own.normal(size=12))

    def between(number: int, low: float, high: float) -> float:
        return float(low + (high - low) * score[number])

    return Line(
        radius_um=between(0, 12.5, 18.0),
        elongation=between(1, 1.1, 2.2),
        roughness=between(2, 0.08, 0.24),
        spikes=between(3, 0, 3),
        nucleus_um=between(4, 7.0, 9.4),
        nucleus_elongation=between(5, 1.15, 1.75),
        nucleus_roughness=between(6, 0.04, 0.14),
        nucleoli=between(7, 1.5, 4.5),
        chromatin=between(8, 0.16, 0.36),
        filaments=round(between(9, 110, 210)),
        curl=between(10, 0.04, 0.18),
        er_reach_um=between(11, 4.5, 11),
        clumping=growth.uniform(0.05, 0.45),
        density=float(np.exp(growth.uniform(-0.3, 0.3))),
    )


def draw_expression(names: tuple[str, ...], ensembl_ids: list[str], settings: Settings) -> np.ndarray:
    """Expression of genes in lines: traits that lines share with their looks, and a part private to each gene and line.

    Parameters
    ----------
    names : lines
    ensembl_ids : genes
    settings : of the dataset

    Returns
    -------
    (lines, genes) float32, log2(TPM + 1)
    """
    seed = settings.seed
    by_gene = stream(seed, "expression of genes")
    base = by_gene.gamma(2.0, 2.2, len(ensembl_ids))
    weights = by_gene.normal(size=(len(ensembl_ids), TRAITS)) * (by_gene.random((len(ensembl_ids), 1)) < 0.5)
    rows = []
    for name in names:
        kind, twin = kind_of(name)
        traits = expression_traits(name, seed=seed, linked=settings.effects.expression)
        private = stream(seed, "private expression", twin if kind == "looks" else name).normal(size=len(ensembl_ids))
        noise = stream(seed, "measured expression", name).normal(size=len(ensembl_ids))
        rows.append(base + 0.6 * weights @ traits + 0.8 * private + 0.15 * noise)
    return np.clip(rows, 0, None).astype(np.float32)
