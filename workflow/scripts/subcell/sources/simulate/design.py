"""Layout of a simulated dataset: plates, wells and fields, as in the Human Protein Atlas (HPA) or in a drug screen.

Everything here is SIMULATED: names of genes, antibodies and compounds are made up, those of cell lines and locations are HPA's.
"""

from typing import Any

import pandas as pd

from subcell.channels import COLORS
from subcell.sources.simulate.antibodies import Antibody, list_antibodies
from subcell.sources.simulate.compounds import COLUMNS, ROWS, list_compounds, place_wells
from subcell.sources.simulate.lines import line_names
from subcell.sources.simulate.settings import Settings
from subcell.sources.simulate.streams import stream

_WELLS = len(ROWS) * COLUMNS


def design_fields(dataset: str, **settings: Any) -> pd.DataFrame:
    """List the fields of a simulated dataset.

    `hpa`: one cell line a plate, one well per antibody and line, wells in random order. `perturbation`: every plate holds
    every compound at every dose and the controls, in the same wells; plates take turns over the lines.

    Parameters
    ----------
    dataset : its name, the start of every plate and field id
    settings : see `Settings`

    Returns
    -------
    DataFrame with the columns of `subcell.catalog.fields`; `shard` is 0 and paths are file names

    Raises
    ------
    ConfigError : settings that contradict each other
    """
    from subcell.catalog.fields import as_fields

    chosen = Settings(**settings)
    wells = _screen(dataset, chosen) if chosen.layout == "perturbation" else _atlas(dataset, chosen)
    rows = [
        {**well, **_files(f"{well['plate']}_{well['well']}_{site}", chosen), "site": str(site)}
        for well in wells
        for site in range(1, chosen.fields_per_well + 1)
    ]
    return as_fields(pd.DataFrame(rows))


def _atlas(dataset: str, settings: Settings) -> list[dict[str, object]]:
    """Wells of antibodies: a line fills its plates one after the other."""
    antibodies = list_antibodies(settings)
    wells: list[dict[str, object]] = []
    plates = 0
    for line in line_names(settings):
        order = stream(settings.seed, "wells", line)
        on_line = [antibody for antibody in antibodies if line in antibody.cell_lines]
        positions = [order.permutation(_WELLS) for _ in range(-(-len(on_line) // _WELLS))]
        for number, antibody in enumerate(on_line):
            position = int(positions[number // _WELLS][number % _WELLS])
            plate = f"{dataset}{plates + 1 + number // _WELLS:02d}"
            well = f"{ROWS[position // COLUMNS]}{position % COLUMNS + 1}"
            wells.append({"plate": plate, "batch": plate, "well": well, "cell_line": line, **_labels(antibody)})
        plates += len(positions)
    return wells


def _labels(antibody: Antibody) -> dict[str, object]:
    labelled = antibody.locations is not None
    return {
        "antibody": antibody.name,
        "gene": antibody.gene.name,
        "ensembl_id": antibody.gene.ensembl_id,
        "locations": ";".join(sorted(antibody.locations)) if antibody.locations is not None else None,
        "label_level": "antibody_line" if labelled else None,
        "split": antibody.gene.split,
    }


def _screen(dataset: str, settings: Settings) -> list[dict[str, object]]:
    """Wells of compounds, plate by plate."""
    mechanisms = {compound.name: compound.mechanism for compound in list_compounds(settings)}
    lines = line_names(settings)
    return [
        {
            **{"plate": f"{dataset}{number + 1:02d}", "batch": f"{dataset}{number + 1:02d}"},
            **{"well": well, "cell_line": lines[number % len(lines)]},
            **{"compound": compound, "dose": dose, "control": control, "mechanism": mechanisms.get(compound)},
        }
        for number in range(settings.plates)
        for well, compound, dose, control in place_wells(settings)
    ]


def _files(field_id: str, settings: Settings) -> dict[str, object]:
    """Columns that name a field and its files."""
    return {
        "field_id": field_id,
        "pixel_size_um": settings.pixel_size_um,
        "pixel_size_source": "simulated",
        **{
            channel: None if channel in settings.missing_channels else f"{field_id}_{color}.png"
            for color, channel in COLORS.items()
        },
        "reference_nuclei": f"{field_id}_nuclei.png",
        "reference_cells": f"{field_id}_cells.png",
    }
