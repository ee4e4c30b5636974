"""Antibodies against the genes of a simulated world: their lines, their labels, and what they really show."""

from dataclasses import dataclass, replace

import numpy as np

from subcell.sources.simulate.genes import LOCATIONS, Gene, SubPattern, list_genes
from subcell.sources.simulate.lines import line_names
from subcell.sources.simulate.settings import Settings
from subcell.sources.simulate.streams import stream


@dataclass(frozen=True)
class Antibody:
    """Truth about one simulated antibody.

    Attributes
    ----------
    true_locations : where its signal really is
    locations : what its label says; None where the label is missing
    sub_pattern : how its protein fills these locations
    cell_lines : lines that it stains
    few_cells : one well with sparse fields
    discordant : shows another protein than the other antibody of its gene, under the gene's label
    """

    name: str
    gene: Gene
    true_locations: tuple[str, ...]
    locations: tuple[str, ...] | None
    sub_pattern: SubPattern
    cell_lines: tuple[str, ...]
    few_cells: bool
    discordant: bool = False


def list_antibodies(settings: Settings) -> list[Antibody]:
    """Draw the antibodies of a dataset: one a gene, two for every ninth gene.

    An antibody follows from the world and its name: it is the same in any dataset of the world, but for its lines.

    Returns
    -------
    antibodies in the order of their genes
    """
    lines = line_names(settings)
    antibodies: list[Antibody] = []
    for number, gene in enumerate(list_genes(settings)[: settings.imaged_genes]):
        for twin in range(2 if number % 9 == 4 else 1):
            antibody = f"SIM{settings.seed:02d}{len(antibodies) + 1:04d}"
            rng = stream(settings.seed, "lines of antibody", antibody)
            few = bool(rng.random() < 1 / 6)
            if settings.lines_per_antibody == 1:
                chosen = (lines[number % len(lines)],)
            else:
                others = 0 if few else _other_lines(rng, settings.lines_per_antibody)
                places = rng.permutation(len(lines) - 1)[:others] + 1
                chosen = (lines[0], *(lines[i] for i in sorted(places)))
            drawn = Antibody(
                name=antibody,
                gene=gene,
                true_locations=gene.locations,
                locations=gene.locations,
                sub_pattern=gene.sub_pattern,
                cell_lines=chosen,
                few_cells=few,
            )
            # One in three of the second antibodies of training genes binds something else.
            astray = twin and gene.split == "train" and (number // 9) % 3 == 0
            antibodies.append(_mislabel(drawn, settings, discordant=bool(astray)))
    return antibodies


def _other_lines(rng: np.random.Generator, most: int) -> int:
    """How many lines an antibody stains besides the first: half of them have one, others none or more."""
    counts = np.arange(most)
    weights = np.where(counts == 1, 0.5, np.where(counts == 0, 0.2, 0.3 / max(1, most - 2)))
    return int(rng.choice(counts, p=weights / weights.sum()))


def _mislabel(antibody: Antibody, settings: Settings, *, discordant: bool) -> Antibody:
    """Make a training label wrong, incomplete or missing with a small chance, or the antibody discordant."""
    rng = stream(settings.seed, "label", antibody.name)
    chance, other = rng.random(), _elsewhere(rng, antibody)
    if discordant and settings.effects.discordant_antibodies:
        return replace(antibody, true_locations=(other,), discordant=True)
    if antibody.gene.split != "train" or not settings.effects.wrong_labels:
        return antibody
    if chance < 0.04:
        return replace(antibody, locations=(other, *antibody.true_locations[1:]))
    if chance < 0.08:
        return replace(antibody, locations=antibody.true_locations[:1])
    if chance < 0.11:
        return replace(antibody, locations=None)
    return antibody


def _elsewhere(rng: np.random.Generator, antibody: Antibody) -> str:
    others = [name for name in LOCATIONS if name not in antibody.true_locations]
    return others[int(rng.integers(len(others)))]
