"""What compounds and the edge of a plate do to cells and stain."""

from dataclasses import replace

from subcell.sources.simulate.compounds import Treatment
from subcell.sources.simulate.lines import Line
from subcell.sources.simulate.protein import Protein


def change_line(line: Line, treatment: Treatment, *, edge: float) -> Line:
    """The line as it looks under a compound, in a well that is more or less at the edge.

    Parameters
    ----------
    line : untreated
    treatment : what the compound does, at which strength
    edge : 0 in the middle of a plate, 1 at its edge, where fewer and larger cells grow
    """
    line = replace(
        line,
        density=line.density * (1 - 0.2 * edge),
        radius_um=line.radius_um * (1 + 0.05 * edge),
        nucleus_um=line.nucleus_um * (1 + 0.05 * edge),
    )
    strength = treatment.strength
    if treatment.mechanism == "ER stress":
        line = replace(line, er_gain=1 + 0.35 * strength, er_reach_um=line.er_reach_um * (1 + 0.8 * strength))
    elif treatment.mechanism == "DNA damage":
        line = replace(
            line,
            nucleus_um=line.nucleus_um * (1 + 0.15 * strength),
            chromatin=line.chromatin * (1 + 0.9 * strength),
            nucleoli=1 + (line.nucleoli - 1) / (1 + strength),
        )
    elif treatment.mechanism == "microtubule destabiliser":
        line = replace(
            line, filaments=round(line.filaments / (1 + 2.5 * strength)), curl=line.curl * (1 + strength), spikes=0
        )
    if treatment.toxic:
        line = replace(
            line,
            density=line.density * (1 - 0.5 * min(strength, 1)),
            radius_um=line.radius_um * (1 - 0.12 * strength),
            floating=line.floating + 0.2 * strength,
        )
    return line


def change_protein(protein: Protein, treatment: Treatment) -> Protein:
    """The stain as it looks under a compound."""
    if treatment.mechanism == "mitochondrial fission":
        return replace(protein, grain=min(1.0, protein.grain + 0.7 * treatment.strength), spread=0.2)
    return protein
