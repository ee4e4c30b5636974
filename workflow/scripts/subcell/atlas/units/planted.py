"""SIMULATED cells with a planted hierarchy, in the columns of SubCell's released table: the truth that maps are tried on."""

from __future__ import annotations

from dataclasses import dataclass

import anndata
import numpy as np
import pandas as pd

COMPARTMENTS = ("Nucleoplasm", "Cytosol", "Mitochondria", "Golgi apparatus", "Vesicles", "Microtubules")


@dataclass(frozen=True)
class Planted:
    """A table of cells and its truth.

    Attributes
    ----------
    cells : X float32 (cells, features), obs in the released table's columns
    genes : a row a gene: compartment, substructure, complex (missing for genes of none)
    """

    cells: anndata.AnnData
    genes: pd.DataFrame


def plant(
    genes: int = 360,
    *,
    features: int = 64,
    compartments: int = 4,
    substructures: int = 3,
    complex_size: int = 6,
    in_complexes: float = 0.5,
    distances: tuple[float, float, float, float] = (3.0, 1.8, 1.2, 0.6),
    cells_per_field: int = 5,
    fields: int = 3,
    field_effect: float = 0.5,
    cell_noise: float = 2.0,
    lines: tuple[str, ...] = ("U2OS",),
    plate_effect: float = 0.0,
    plates: int = 6,
    second_antibodies: float = 0.15,
    seed: int = 0,
) -> Planted:
    """Draw genes in complexes in sub-structures in compartments, and their cells.

    Parameters
    ----------
    genes, features : number of genes, length of vectors
    compartments, substructures : number of compartments, and of sub-structures of each
    complex_size, in_complexes : genes of a complex, and share of all genes that are in one
    distances : length of the offset of a compartment, sub-structure, complex and gene; all 0 plants nothing
    cells_per_field, fields, field_effect, cell_noise : cells of a field, fields of an antibody and line, and the lengths
        of what fields and cells add
    lines, plate_effect, plates : cell lines, and what the plates of a line add; each plate has one line
    second_antibodies : share of genes with a second antibody, of a worse grade
    seed : of everything
    """
    rng = np.random.default_rng(seed)

    def offsets(count: int, length: float) -> np.ndarray:
        drawn = rng.normal(size=(count, features))
        return length * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    small = np.arange(genes) % (compartments * substructures)
    compartment = small % compartments
    names = [f"SIMGENE{number:05d}" for number in range(genes)]
    complexes = np.full(genes, -1)
    for group in range(compartments * substructures):
        members = rng.permutation(np.flatnonzero(small == group))
        members = members[: int(len(members) * in_complexes) // complex_size * complex_size]
        complexes[members] = complexes.max() + 1 + np.arange(len(members)) // complex_size
    truth = (
        offsets(compartments, distances[0])[compartment] + offsets(compartments * substructures, distances[1])[small]
    )
    of_complex = offsets(complexes.max() + 2, distances[2])
    of_complex[-1] = 0
    truth = truth + of_complex[complexes] + offsets(genes, distances[3])
    table = pd.DataFrame(
        {
            "compartment": [COMPARTMENTS[i % len(COMPARTMENTS)] for i in compartment],
            "substructure": [f"SIM structure {group:02d}" for group in small],
            "complex": [f"SIM complex {number:03d}" if number >= 0 else None for number in complexes],
        },
        index=pd.Index(names, name="gene"),
    )

    antibodies = [(gene, f"SIM{2 * gene:06d}", "Supported", 2) for gene in range(genes)]
    second = rng.random(genes) < second_antibodies
    antibodies += [(int(gene), f"SIM{2 * gene + 1:06d}", "Approved", 3) for gene in np.flatnonzero(second)]
    rows, vectors = [], []
    of_plate = {(line, plate): offsets(1, plate_effect)[0] for line in lines for plate in range(plates)}
    for number, (gene, antibody, grade, rank) in enumerate(antibodies):
        for which, line in enumerate(lines):
            plate = int(rng.integers(plates))
            for field in range(1, fields + 1):
                here = truth[gene] + offsets(1, field_effect)[0] + of_plate[line, plate]
                vectors.append(here + offsets(cells_per_field, cell_noise))
                rows += [
                    {
                        "cell_id": f"{cell}.0",
                        "if_plate_id": 100 * which + plate,
                        "position": f"{'ABCDEFGH'[number % 8]}{number // 8 + 1}",
                        "sample": field,
                        "atlas_name": line,
                        "antibody": antibody,
                        "ensembl_ids": f"ENSGSIM{gene:06d}",
                        "gene_names": names[gene],
                        "locations": table["compartment"].iloc[gene],
                        "image_width": 2048 if plate % 2 else 1728,
                        "gene_reliability": grade,
                        "reliability_rank": rank,
                        "split": "test" if gene % 5 == 0 else "train",
                    }
                    for cell in range(1, cells_per_field + 1)
                ]
    obs = pd.DataFrame(rows, index=[f"cell{row}" for row in range(len(rows))])
    obs = obs.astype({name: "category" for name in obs if obs[name].dtype == object})
    cells = anndata.AnnData(
        np.concatenate(vectors).astype(np.float32), obs=obs, uns={"model": "simulated", "kind": "subcell"}
    )
    return Planted(cells, table)
