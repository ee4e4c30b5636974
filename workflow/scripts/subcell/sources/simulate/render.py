"""Render simulated fields to files: one 8-bit PNG a channel, 16-bit truth masks and a ledger."""

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from subcell.channels import CHANNELS, REFERENCES
from subcell.errors import SheetError
from subcell.imaging.ledger import ledger_table, write_ledger
from subcell.sources.simulate.cell import draw_line, grow_cells, visible
from subcell.sources.simulate.design import Microscope, list_antibodies
from subcell.sources.simulate.optics import draw_plate, expose
from subcell.sources.simulate.protein import draw_protein, protein_stain
from subcell.sources.simulate.stains import dna, er, er_network, grow_microtubules, microtubules
from subcell.sources.simulate.streams import stream

Progress = Callable[..., Iterable[Any]]


def render_field(
    field_id: str,
    *,
    gene: str,
    antibody: str,
    locations: tuple[str, ...],
    cell_line: str,
    plate: str,
    seed: int,
    cells_per_field: tuple[int, int] = (6, 13),
    field_px: int = 384,
    pixel_size_um: float = 0.32,
    microscope: Microscope = "confocal",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulate one field. It depends on its arguments alone.

    Parameters
    ----------
    field_id : names the field's random numbers
    gene, antibody, locations : what the protein channel shows; `locations` is the truth, not the label
    cell_line, plate : what cells look like and how they are imaged
    seed : of the dataset
    cells_per_field : fewest and most nuclei whose centre is in view
    field_px : side in pixels
    pixel_size_um : micrometres a pixel
    microscope : `widefield` blurs, adds haze and a camera offset

    Returns
    -------
    image : (4, Y, X) uint8, in the order of CHANNELS
    nuclei, cells : (Y, X) uint16 truth masks, one id per cell shared by both
    """
    line = draw_line(cell_line, seed=seed)
    optics = draw_plate(plate, seed=seed, microscope=microscope)
    shape = stream(seed, "shape", field_id)
    count = int(shape.integers(cells_per_field[0], cells_per_field[1], endpoint=True))
    cells = grow_cells(shape, line, cells=count, field_px=field_px, pixel_um=pixel_size_um)
    inner = stream(seed, "landmarks", field_id)
    tubules = grow_microtubules(inner, cells, line)
    network = er_network(inner, cells)
    protein = draw_protein(gene, antibody, locations, seed=seed)
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
    return image, *visible(cells)


def simulate_fields(
    fields: pd.DataFrame,
    out_dir: str | Path,
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
    progress: Progress | None = None,
) -> None:
    """Write simulated images, truth masks and their ledger for some fields of `design_fields`.

    The images are SIMULATED. A field depends on the settings and its id alone: it comes out the same in any shard.

    Parameters
    ----------
    fields : rows of `design_fields` with the same settings
    out_dir : folder that appears when it is complete
    seed, genes, cell_lines, cells_per_field, field_px, pixel_size_um, microscope : as given to `design_fields`
    fields_per_well, missing_channels : matter to `design_fields` only; a channel without file name is not written
    progress : called as ``progress(rows, total=n, desc=text)``, gives the rows back

    Raises
    ------
    SheetError : a field's antibody is not part of the design that the settings give
    """
    del fields_per_well, missing_channels
    truth = {antibody.name: antibody for antibody in list_antibodies(seed=seed, genes=genes, cell_lines=cell_lines)}
    unknown = sorted(set(fields["antibody"]) - set(truth))
    if unknown:
        raise SheetError(
            f"{len(unknown)} antibodies, such as {unknown[0]!r}, are not part of the simulated design with seed {seed} "
            f"and {genes} genes; list the fields again with the present settings"
        )
    out_dir = Path(out_dir)
    partial = out_dir.with_name(f".{out_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows = list(fields.itertuples(index=False))
    shown = progress(rows, total=len(rows), desc="simulating fields") if progress else rows
    ledger = []
    for row in shown:
        antibody = truth[row.antibody]
        few = (cells_per_field[0], min(cells_per_field[0] + 1, cells_per_field[1]))
        image, nuclei, cells = render_field(
            row.field_id,
            gene=antibody.gene,
            antibody=antibody.name,
            locations=antibody.true_locations,
            cell_line=row.cell_line,
            plate=row.plate,
            seed=seed,
            cells_per_field=few if antibody.few_cells else cells_per_field,
            field_px=field_px,
            pixel_size_um=pixel_size_um,
            microscope=microscope,
        )
        planes = {**dict(zip(CHANNELS, image, strict=True)), **dict(zip(REFERENCES, (nuclei, cells), strict=True))}
        for channel, plane in planes.items():
            name = getattr(row, channel)
            if isinstance(name, str):
                ledger.append(_write(partial, row.field_id, channel, name, plane))
    write_ledger(partial, ledger_table(ledger))
    if out_dir.exists():
        shutil.rmtree(out_dir)
    os.replace(partial, out_dir)


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
