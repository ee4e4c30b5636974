"""Render simulated fields to files: one 8-bit PNG a channel, 16-bit truth masks and a ledger."""

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from subcell.channels import CHANNELS, REFERENCES
from subcell.errors import SheetError
from subcell.imaging.ledger import ledger_table, write_ledger
from subcell.sources.simulate.antibodies import list_antibodies
from subcell.sources.simulate.cell import grow_cells, visible
from subcell.sources.simulate.compounds import SOLVENT, Treatment, dose_names, edge_of, list_compounds, treatment_of
from subcell.sources.simulate.genes import SubPattern
from subcell.sources.simulate.lines import draw_line
from subcell.sources.simulate.optics import draw_plate, expose
from subcell.sources.simulate.protein import draw_protein, protein_stain
from subcell.sources.simulate.settings import Effects, Microscope, Settings
from subcell.sources.simulate.stains import dna, er, er_network, grow_microtubules, microtubules
from subcell.sources.simulate.streams import stream
from subcell.sources.simulate.treatment import change_line, change_protein

Progress = Callable[..., Iterable[Any]]


class Rendered(NamedTuple):
    """One simulated field.

    Attributes
    ----------
    image : (4, Y, X) uint8, in the order of CHANNELS
    nuclei, cells, nucleoli, centrosomes : (Y, X) uint16 truth masks, one id per cell shared by all
    """

    image: np.ndarray
    nuclei: np.ndarray
    cells: np.ndarray
    nucleoli: np.ndarray
    centrosomes: np.ndarray


STAIN = SubPattern("stain", grain=0.25, spread=0.6, mesh_um=0.9, main=1.0)
STAIN_LOCATIONS = ("Mitochondria",)
"""What the protein channel of a screen shows: one stain in all fields, as in a Cell Painting assay."""


def render_field(
    field_id: str,
    *,
    antibody: str,
    locations: tuple[str, ...],
    cell_line: str,
    plate: str,
    seed: int,
    sub_pattern: SubPattern | None = None,
    well: str = "D6",
    treatment: Treatment | None = None,
    cells_per_field: tuple[int, int] = (9, 16),
    field_px: int = 448,
    pixel_size_um: float = 0.32,
    microscope: Microscope = "confocal",
    effects: Effects | None = None,
) -> Rendered:
    """Simulate one field. It depends on its arguments alone.

    Parameters
    ----------
    field_id : names the field's random numbers
    antibody, locations, sub_pattern : what the protein channel shows; `locations` is the truth, not the label, and the
        antibody has a sub-pattern of its own when None
    cell_line, plate, well : what cells look like and how they are imaged
    seed : of the dataset
    treatment : what a compound does to the cells
    cells_per_field : fewest and most nuclei whose centre is in view, before the density of the line
    field_px : side in pixels
    pixel_size_um : micrometres a pixel
    microscope : `widefield` blurs, adds haze and a camera offset
    effects : switches of odd cells, plates and positions
    """
    effects = effects or Effects()
    treatment = treatment or Treatment()
    edge = edge_of(well) if effects.positions else 0.0
    line = change_line(draw_line(cell_line, seed=seed), treatment, edge=edge)
    optics = draw_plate(plate if effects.plates else "every plate", seed=seed, microscope=microscope)
    optics = replace(optics, gain={channel: gain * (1 + 0.12 * edge) for channel, gain in optics.gain.items()})
    shape = stream(seed, "shape", field_id)
    count = shape.integers(cells_per_field[0], cells_per_field[1], endpoint=True)
    cells = grow_cells(
        shape, line, cells=round(count * line.density), field_px=field_px, pixel_um=pixel_size_um, odd=effects.odd_cells
    )
    inner = stream(seed, "landmarks", field_id)
    tubules = grow_microtubules(inner, cells, line)
    network = er_network(inner, cells)
    protein = change_protein(draw_protein(antibody, locations, sub_pattern, seed=seed), treatment)
    stains = {
        "microtubules": microtubules(inner, cells, tubules),
        "er": er(inner, cells, line, network),
        "nucleus": dna(inner, cells, line),
        "protein": protein_stain(
            stream(seed, "protein", field_id), cells, line, protein, tubules=tubules, network=network
        ),
    }
    noise = stream(seed, "noise", field_id)
    image = np.stack([expose(noise, stains[channel], cells, optics, channel) for channel in CHANNELS])
    return Rendered(image, *visible(cells))


def simulate_fields(
    fields: pd.DataFrame, out_dir: str | Path, *, progress: Progress | None = None, **settings: Any
) -> None:
    """Write simulated images, truth masks and their ledger for some fields of `design_fields`.

    The images are SIMULATED. A field depends on the settings and its id alone: it comes out the same in any shard.
    Beside the files that the table names lie `<field_id>_nucleoli.png` and `<field_id>_centrosomes.png`.

    Parameters
    ----------
    fields : rows of `design_fields` with the same settings
    out_dir : folder that appears when it is complete
    progress : called as ``progress(rows, total=n, desc=text)``, gives the rows back
    settings : see `Settings`

    Raises
    ------
    SheetError : a field's antibody or compound is not part of the design that the settings give
    """
    chosen = Settings(**settings)
    stained = _stainings(chosen)
    key = "compound" if chosen.layout == "perturbation" else "antibody"
    unknown = sorted(set(fields[key].fillna("none")) - {name for name, _ in stained})
    if unknown:
        raise SheetError(
            f"{len(unknown)} of {key}, such as {unknown[0]!r}, are not part of the simulated design with seed "
            f"{chosen.seed} and {chosen.genes} genes; list the fields again with the present settings"
        )
    out_dir = Path(out_dir)
    partial = out_dir.with_name(f".{out_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows = list(fields.itertuples(index=False))
    shown = progress(rows, total=len(rows), desc="simulating fields") if progress else rows
    ledger = []
    for row in shown:
        field = render_field(
            row.field_id,
            cell_line=row.cell_line,
            plate=row.plate,
            well=row.well,
            seed=chosen.seed,
            field_px=chosen.field_px,
            pixel_size_um=chosen.pixel_size_um,
            microscope=chosen.microscope,
            effects=chosen.effects,
            **stained[getattr(row, key), row.dose if key == "compound" else None],
        )
        planes = {
            **dict(zip(CHANNELS, field.image, strict=True)),
            **dict(zip(REFERENCES, (field.nuclei, field.cells), strict=True)),
        }
        for channel, plane in planes.items():
            name = getattr(row, channel)
            if isinstance(name, str):
                ledger.append(_write(partial, row.field_id, channel, name, plane))
        for kind in ("nucleoli", "centrosomes"):
            _write(partial, row.field_id, kind, f"{row.field_id}_{kind}.png", getattr(field, kind))
    write_ledger(partial, ledger_table(ledger))
    if out_dir.exists():
        shutil.rmtree(out_dir)
    os.replace(partial, out_dir)


def _stainings(settings: Settings) -> dict[tuple[str, str | None], dict[str, Any]]:
    """What `render_field` is told of each antibody, or of each compound at each dose."""
    fewest, most = settings.cells_per_field
    if settings.layout == "perturbation":
        stain = {"antibody": "stain", "locations": STAIN_LOCATIONS, "sub_pattern": STAIN}
        common = {**stain, "cells_per_field": (fewest, most)}
        return {
            (SOLVENT, "0"): common,
            **{
                (compound.name, dose): {**common, "treatment": treatment_of(compound, dose, settings)}
                for compound in list_compounds(settings)
                for dose in dose_names(settings)
            },
        }
    return {
        (antibody.name, None): {
            "antibody": antibody.name,
            "locations": antibody.true_locations,
            "sub_pattern": antibody.sub_pattern,
            "cells_per_field": (fewest, min(fewest + 1, most)) if antibody.few_cells else (fewest, most),
        }
        for antibody in list_antibodies(settings)
    }


def _write(folder: Path, field_id: str, channel: str, name: str, plane: np.ndarray) -> dict[str, object]:
    file = io.BytesIO()
    Image.fromarray(plane).save(file, format="PNG", compress_level=1)
    data = file.getvalue()
    (folder / name).write_bytes(data)
    return {
        "field_id": field_id,
        "channel": channel,
        "file": name,
        "plane": "",
        "url": f"simulated:{name}",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "tries": 1,
        "status": "ok",
        "reason": "",
    }
