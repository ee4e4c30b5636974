"""Layout of a simulated dataset: genes, antibodies, plates, wells and splits, as in the Human Protein Atlas (HPA).

Everything here is SIMULATED: names of genes and antibodies are made up, names of cell lines and locations are HPA's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from subcell.channels import COLORS
from subcell.errors import ConfigError
from subcell.sources.simulate.streams import stream

Microscope = Literal["confocal", "widefield"]

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

CELL_LINES = (
    *("U-2 OS", "A-431", "U-251MG", "HeLa", "HEK293", "MCF-7", "Hep-G2", "A-549", "PC-3", "Rh30", "SH-SY5Y", "CACO-2"),
    *("RT-4", "SiHa", "HAP1", "K-562", "HL-60", "THP-1", "NB-4", "REH", "JURKAT", "HEL", "SK-MEL-30", "BJ"),
    *("hTERT-RPE1", "HaCaT", "HUVEC TERT2", "LHCN-M2", "ASC TERT1", "fHDF/TERT166", "OE19", "EFO-21", "HBEC3-KT"),
    *("HDLM-2", "GAMG", "NTERA-2", "AF22", "SuSa", "BEWO", "PODO/TERT256"),
)
"""Names of lines; the first one is on every antibody, as in HPA. What a line looks like follows from the seed."""

_WELLS = 96
_ROWS = "ABCDEFGH"


@dataclass(frozen=True)
class Antibody:
    """Truth about one simulated antibody.

    Attributes
    ----------
    true_locations : where its signal really is
    locations : what its label says; None where the label is missing
    few_cells : one well with sparse fields
    """

    name: str
    gene: str
    ensembl_id: str
    split: str
    true_locations: tuple[str, ...]
    locations: tuple[str, ...] | None
    cell_lines: tuple[str, ...]
    few_cells: bool


def list_antibodies(*, seed: int, genes: int, cell_lines: int) -> list[Antibody]:
    """Draw genes and their antibodies.

    Locations come in pairs of blocks of ten genes: within a block every class is some gene's first location, and within
    a pair every class is once a second location, so half the genes have two and a pair holds each class three times.
    Whole pairs are held out, which gives every class at least three test genes from 40 genes on.

    Returns
    -------
    antibodies in the order of their genes
    """
    rng = stream(seed, "antibodies")
    lines = _line_names(cell_lines)
    antibodies: list[Antibody] = []
    for number, where in enumerate(_locations_of_genes(rng, genes)):
        base = Antibody(
            name="",
            gene=f"S{seed}G{number + 1:03d}",
            ensembl_id=f"SIMG{seed:04d}{number + 1:05d}",
            split=_split_of(number, genes),
            true_locations=where,
            locations=where,
            cell_lines=(),
            few_cells=False,
        )
        # Every ninth gene has two antibodies, as far as labels and patterns go two looks at one protein.
        for _ in range(2 if number % 9 == 4 else 1):
            few = rng.random() < 1 / 6
            others = 0 if few else int(rng.choice(3, p=[0.1, 0.45, 0.45]))
            chosen = rng.permutation(len(lines) - 1)[:others] + 1
            antibodies.append(
                replace(
                    base,
                    name=f"SIM{seed:02d}{len(antibodies) + 1:04d}",
                    cell_lines=(lines[0], *(lines[i] for i in sorted(chosen))),
                    few_cells=bool(few),
                )
            )
    return _mislabel(rng, antibodies)


def design_fields(
    dataset: str,
    *,
    seed: int,
    genes: int = 72,
    cell_lines: int = 8,
    fields_per_well: int = 2,
    cells_per_field: tuple[int, int] = (6, 13),
    field_px: int = 384,
    pixel_size_um: float = 0.32,
    microscope: Microscope = "confocal",
    missing_channels: Sequence[str] = (),
) -> pd.DataFrame:
    """List the fields of a simulated dataset.

    HPA's layout: one cell line a plate, one well per antibody and line, the first line on every antibody and up to two
    other lines, wells in random order. A seed is a world: the same seed with another microscope images the same genes
    and lines again.

    Parameters
    ----------
    dataset : its name, the start of every plate and field id
    seed : of genes, lines, layout and images
    genes : number of genes; from 40 on every location has at least three held-out genes
    cell_lines : number of lines
    fields_per_well : fields in a well
    cells_per_field, field_px, microscope : shape the images of `simulate_fields`, not the list
    pixel_size_um : micrometres a pixel
    missing_channels : channels that are not imaged

    Returns
    -------
    DataFrame with the columns of `subcell.catalog.fields`; `shard` is 0 and paths are file names

    Raises
    ------
    ConfigError : `cells_per_field` is not a range of counts
    """
    from subcell.catalog.fields import as_fields

    del field_px, microscope
    if not 0 <= cells_per_field[0] <= cells_per_field[1]:
        raise ConfigError(
            f"dataset {dataset}: cells_per_field is {list(cells_per_field)}; expected the fewest, then the most cells a field"
        )
    wells = [
        (line, antibody)
        for antibody in list_antibodies(seed=seed, genes=genes, cell_lines=cell_lines)
        for line in antibody.cell_lines
    ]
    rows = []
    plates = 0
    for line in _line_names(cell_lines):
        order = stream(seed, "wells", line)
        on_line = [antibody for name, antibody in wells if name == line]
        positions = [order.permutation(_WELLS) for _ in range(-(-len(on_line) // _WELLS))]
        for number, antibody in enumerate(on_line):
            position = int(positions[number // _WELLS][number % _WELLS])
            plate = f"{dataset}{plates + 1 + number // _WELLS:02d}"
            well = f"{_ROWS[position // 12]}{position % 12 + 1}"
            for site in range(1, fields_per_well + 1):
                rows.append(_row(antibody, line, plate, well, site, pixel_size_um, missing_channels))
        plates += len(positions)
    return as_fields(pd.DataFrame(rows))


def _row(
    antibody: Antibody,
    line: str,
    plate: str,
    well: str,
    site: int,
    pixel_size_um: float,
    missing_channels: Sequence[str],
) -> dict[str, object]:
    field_id = f"{plate}_{well}_{site}"
    files = {
        channel: None if channel in missing_channels else f"{field_id}_{color}.png" for color, channel in COLORS.items()
    }
    return {
        **dict.fromkeys(("compound", "dose", "control", "mechanism")),
        "field_id": field_id,
        "shard": 0,
        "plate": plate,
        "well": well,
        "site": str(site),
        "batch": plate,
        "cell_line": line,
        "antibody": antibody.name,
        "gene": antibody.gene,
        "ensembl_id": antibody.ensembl_id,
        "locations": None if antibody.locations is None else ";".join(sorted(antibody.locations)),
        "label_level": None if antibody.locations is None else "antibody_line",
        "pixel_size_um": pixel_size_um,
        "pixel_size_source": "simulated",
        "split": antibody.split,
        **files,
        "reference_nuclei": f"{field_id}_nuclei.png",
        "reference_cells": f"{field_id}_cells.png",
    }


def _line_names(cell_lines: int) -> tuple[str, ...]:
    more = tuple(f"Line {number}" for number in range(len(CELL_LINES) + 1, cell_lines + 1))
    return (*CELL_LINES, *more)[:cell_lines]


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


def _mislabel(rng: np.random.Generator, antibodies: list[Antibody]) -> list[Antibody]:
    """Make a few training labels wrong, incomplete or missing, and one antibody of a few pairs discordant."""
    wrong = []
    for antibody in antibodies:
        chance, other = rng.random(), _elsewhere(rng, antibody)
        if antibody.split != "train":
            wrong.append(antibody)
        elif chance < 0.04:
            wrong.append(replace(antibody, locations=(other, *antibody.true_locations[1:])))
        elif chance < 0.08:
            wrong.append(replace(antibody, locations=antibody.true_locations[:1]))
        elif chance < 0.11:
            wrong.append(replace(antibody, locations=None))
        else:
            wrong.append(antibody)
    twins = [i for i in range(1, len(wrong)) if wrong[i].gene == wrong[i - 1].gene and wrong[i].split == "train"]
    for i in twins[::3]:
        wrong[i] = replace(wrong[i], true_locations=(_elsewhere(rng, wrong[i]),))
    return wrong


def _elsewhere(rng: np.random.Generator, antibody: Antibody) -> str:
    others = [name for name in LOCATIONS if name not in antibody.true_locations]
    return others[int(rng.integers(len(others)))]
