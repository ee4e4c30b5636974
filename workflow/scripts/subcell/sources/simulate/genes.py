"""Genes of a simulated world: where their proteins are, in which pattern, and which complexes they form."""

from dataclasses import dataclass, replace

import numpy as np

from subcell.sources.simulate.settings import Settings
from subcell.sources.simulate.streams import stream

LOCATIONS = (
    "Cytosol",
    "Endoplasmic reticulum",
    "Golgi apparatus",
    "Microtubules",
    "Mitochondria",
    "Nuclear membrane",
    "Nuclear speckles",
    "Nucleoli",
    "Nucleoplasm",
    "Plasma membrane",
)
"""The location classes, in HPA's names."""

UNSEEN = (0.42, 0.58)
"""Sub-patterns between these are kept for test genes: half of each of their measures is drawn from there."""


@dataclass(frozen=True)
class SubPattern:
    """How a protein fills its compartment.

    Attributes
    ----------
    name : genes of one name share everything below
    grain : how punctate, 0 smooth to 1 all dots: continuous or punctate microtubules, a smooth or a dotted nuclear rim
    spread : how far it reaches within its compartment, 0 narrow to 1 wide
    mesh_um : size of its details, micrometres
    main : share of the first of two locations
    """

    name: str
    grain: float
    spread: float
    mesh_um: float
    main: float


@dataclass(frozen=True)
class Gene:
    """Truth about one gene.

    Attributes
    ----------
    locations : one or two
    split : train, valid or test
    sub_pattern : how the protein fills its locations
    complex : the complex it belongs to, None without
    separable : whether its complex has a sub-pattern that no other has
    """

    name: str
    ensembl_id: str
    split: str
    locations: tuple[str, ...]
    sub_pattern: SubPattern
    complex: str | None = None
    separable: bool = True


def list_genes(settings: Settings) -> list[Gene]:
    """Draw the genes of a world.

    Locations come in pairs of blocks of ten genes: within a block every class is some gene's first location, and within
    a pair every class is once a second location, so half the genes have two and a pair holds each class three times.
    Whole pairs are held out, which gives every class at least three test genes from 40 genes on.

    Returns
    -------
    genes, in the order of their names
    """
    seed = settings.seed
    genes = []
    for number, where in enumerate(_locations_of_genes(stream(seed, "locations"), settings.genes)):
        name, split = f"S{seed}G{number + 1:03d}", _split_of(number, settings.genes)
        genes.append(
            Gene(
                name=name,
                ensembl_id=f"SIMG{seed:04d}{number + 1:05d}",
                split=split,
                locations=where,
                sub_pattern=_draw_sub_pattern(name, split, settings),
            )
        )
    return _form_complexes(genes, settings)


def _draw_sub_pattern(name: str, split: str, settings: Settings) -> SubPattern:
    """A sub-pattern of its own; training and validation never see those between `UNSEEN`."""
    if not settings.effects.sub_patterns:
        return SubPattern("common", grain=0.4, spread=0.5, mesh_um=0.95, main=0.6)
    rng = stream(settings.seed, "sub-pattern", name)
    low, high = UNSEEN
    measures = []
    for _ in range(4):
        kept_apart, value, inside = rng.random() < 0.5, rng.random(), rng.uniform(low, high)
        seen = value * (1 - high + low)
        seen = seen if seen < low else seen + high - low
        measures.append(float(inside if split == "test" and kept_apart else seen))
    grain, spread, mesh, main = measures
    return SubPattern(name, grain=grain, spread=spread, mesh_um=0.7 + 0.5 * mesh, main=0.5 + 0.2 * main)


def _form_complexes(genes: list[Gene], settings: Settings) -> list[Gene]:
    """Join genes of one location to complexes of up to three that share a sub-pattern.

    In turn, a location has two complexes with one sub-pattern between them, which nobody can tell apart; one complex;
    and one that spans it and the next location. Genes with one location come first.
    """
    members = [[gene for gene in genes if gene.locations[0] == location] for location in LOCATIONS]
    members = [sorted(found, key=lambda gene: len(gene.locations)) for found in members]
    groups: list[tuple[list[Gene], Gene, bool]] = []
    for number, here in enumerate(members):
        if number % 5 == 0 and len(here) >= 4:
            size = min(3, len(here) // 2)
            groups += [(here[:size], here[0], False), (here[size : 2 * size], here[0], False)]
        elif number % 5 == 3 and here:
            groups.append((here[:2] + members[(number + 1) % len(members)][:2], here[0], True))
        elif number % 5 in (1, 2) and len(here) > 1:
            groups.append((here[:3], here[0], True))
    joined = settings.effects.complexes
    strangers = iter(stream(settings.seed, "strangers").permutation(len(genes)))
    found = {gene.name: gene for gene in genes}
    for number, (group, source, separable) in enumerate(groups, start=1):
        for gene in group if joined else [genes[next(strangers)] for _ in group]:
            found[gene.name] = replace(
                gene,
                complex=f"S{settings.seed}-complex-{number:02d}",
                separable=separable,
                sub_pattern=source.sub_pattern if joined else gene.sub_pattern,
            )
    return list(found.values())


def _locations_of_genes(rng: np.random.Generator, genes: int) -> list[tuple[str, ...]]:
    """First and, for half the genes, second location of each gene, balanced in every pair of blocks."""
    classes = len(LOCATIONS)
    found: list[tuple[str, ...]] = []
    while len(found) < genes:
        seconds = rng.permutation(classes)
        for half in np.split(seconds, 2):
            firsts = rng.permutation(classes)
            hosts = rng.permutation(classes)
            # A gene cannot have the same location twice: give each second location to the next gene with another first.
            partner: dict[int, int] = {}
            for second in half:
                host = next(int(h) for h in hosts if firsts[h] != second and int(h) not in partner)
                partner[host] = int(second)
            for place, first in enumerate(firsts):
                both = (LOCATIONS[first], LOCATIONS[partner[place]]) if place in partner else (LOCATIONS[first],)
                found.append(both)
    return found[:genes]


def _split_of(number: int, genes: int) -> str:
    if genes < 40:
        return ("train", "test", "train", "valid", "train", "test")[number % 6]
    block = number // len(LOCATIONS)
    # train, train, test, test, train, train, valid: 0.58, 0.28 and 0.14 of 72 genes
    return ("train", "train", "test", "test", "train", "train", "valid")[block % 7]
