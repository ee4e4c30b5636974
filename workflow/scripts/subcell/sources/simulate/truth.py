"""What is true of a simulated dataset: tables that benchmarks are scored against. Written from the design, without images."""

import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.sources.simulate.antibodies import list_antibodies
from subcell.sources.simulate.compounds import list_compounds
from subcell.sources.simulate.genes import list_genes
from subcell.sources.simulate.lines import (
    OTHER_GENES,
    draw_expression,
    draw_line,
    expression_traits,
    kind_of,
    line_names,
    looks_traits,
)
from subcell.sources.simulate.settings import Settings
from subcell.sources.simulate.version import VERSION, simulator_hash
from subcell.tables import write_table


def write_truth(out_dir: str | Path, **settings: Any) -> None:
    """Write what is true of a simulated dataset.

    Parameters
    ----------
    out_dir : folder that appears when it is complete. It gets expression.parquet (a row a line, a column a gene's Ensembl
        id, log2(TPM + 1)), complexes.tsv, antibodies.tsv, lines.tsv, simulator.tsv and, for a screen, compounds.tsv
    settings : see `Settings`
    """
    chosen = Settings(**settings)
    tables = {
        "antibodies": antibody_table(chosen),
        "complexes": complex_table(chosen),
        "lines": line_table(chosen),
        "simulator": pd.DataFrame([{"version": VERSION, "hash": simulator_hash()}]),
    }
    if chosen.layout == "perturbation":
        tables["compounds"] = compound_table(chosen)
    out_dir = Path(out_dir)
    partial = out_dir.with_name(f".{out_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, table in tables.items():
        write_table(table, partial / f"{name}.tsv", float_format="%.6g")
    expression_table(chosen).to_parquet(partial / "expression.parquet")
    if out_dir.exists():
        shutil.rmtree(out_dir)
    os.replace(partial, out_dir)


def expression_table(settings: Settings) -> pd.DataFrame:
    """Expression of imaged and other genes: index cell_line, a column an Ensembl id, log2(TPM + 1)."""
    lines = line_names(settings)
    others = [f"SIMG{settings.seed:04d}{number:05d}" for number in range(90_001, 90_001 + OTHER_GENES)]
    names = [gene.ensembl_id for gene in list_genes(settings)] + others
    return pd.DataFrame(draw_expression(lines, names, settings), index=pd.Index(lines, name="cell_line"), columns=names)


def antibody_table(settings: Settings) -> pd.DataFrame:
    """What each antibody really shows, beside its label; no rows for a screen, which stains without antibodies."""
    columns = (
        *("antibody", "gene", "ensembl_id", "split", "true_locations", "locations", "discordant", "few_cells"),
        *("sub_pattern", "grain", "spread", "mesh_um", "main"),
    )
    antibodies = list_antibodies(settings) if settings.layout == "hpa" else []
    rows = [
        {
            "antibody": antibody.name,
            "gene": antibody.gene.name,
            "ensembl_id": antibody.gene.ensembl_id,
            "split": antibody.gene.split,
            "true_locations": ";".join(sorted(antibody.true_locations)),
            "locations": ";".join(sorted(antibody.locations or ())),
            "discordant": _word(antibody.discordant),
            "few_cells": _word(antibody.few_cells),
            "sub_pattern": antibody.sub_pattern.name,
            **{name: getattr(antibody.sub_pattern, name) for name in ("grain", "spread", "mesh_um", "main")},
        }
        for antibody in antibodies
    ]
    return pd.DataFrame(rows, columns=list(columns))


def complex_table(settings: Settings) -> pd.DataFrame:
    """Members of the complexes among the imaged genes, a row a gene, with where the gene's protein is."""
    columns = ("complex", "gene", "ensembl_id", "separable", "locations")
    genes = list_genes(settings)[: settings.imaged_genes] if settings.layout == "hpa" else []
    rows = [
        (gene.complex, gene.name, gene.ensembl_id, _word(gene.separable), ";".join(sorted(gene.locations)))
        for gene in genes
        if gene.complex
    ]
    return pd.DataFrame(sorted(rows), columns=list(columns))


def compound_table(settings: Settings) -> pd.DataFrame:
    """What each compound really does."""
    return pd.DataFrame(
        [
            (found.name, found.mechanism or "", _word(found.active), _word(found.toxic))
            for found in list_compounds(settings)
        ],
        columns=["compound", "mechanism", "active", "toxic"],
    )


def line_table(settings: Settings) -> pd.DataFrame:
    """Density, kind and latent traits of each line."""
    rows = []
    for name in line_names(settings):
        kind, twin = kind_of(name)
        looks = looks_traits(name, seed=settings.seed)
        expressed = expression_traits(name, seed=settings.seed, linked=settings.effects.expression)
        rows.append(
            {
                "cell_line": name,
                "density": draw_line(name, seed=settings.seed).density,
                "kind": kind,
                "twin": twin if kind != "usual" else "",
                **{f"morphology_{number}": value for number, value in enumerate(looks, start=1)},
                **{f"expression_{number}": value for number, value in enumerate(expressed, start=1)},
            }
        )
    return pd.DataFrame(rows)


def _word(value: bool) -> str:
    return "true" if value else "false"
