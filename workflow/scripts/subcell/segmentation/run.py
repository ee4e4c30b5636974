"""Segment the fields of a shard and measure their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.catalog.set_aside import reason_of
from subcell.channels import CHANNELS
from subcell.errors import SubcellError
from subcell.imaging.camera import NO_CORRECTION, Camera, bit_depth, is_stretched
from subcell.imaging.read import read_field, read_ledger
from subcell.segmentation.flows import is_out_of_memory
from subcell.segmentation.masks import create_masks
from subcell.segmentation.measure import constant_channels, field_quality, measure_cells, picture_quality
from subcell.segmentation.overlap import overlapped
from subcell.segmentation.pixel_size import pixel_size_warning
from subcell.segmentation.scoring import score_masks
from subcell.segmentation.segmenter import Flows, Labels, Prepared, Segmenter
from subcell.segmentation.tables import CELLS_SCHEMA, QC_SCHEMA, write_table

BATCH_BYTES = 2**30

Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class _Read:
    """A field that was read and prepared, or the reason why it could not be."""

    field: dict[str, Any]
    image: NDArray[Any] | None = None
    present: tuple[str, ...] = ()
    prepared: tuple[Prepared, ...] = ()
    about: dict[str, Any] = dataclass_field(default_factory=dict)
    problem: str = ""
    starved: bool = False


@dataclass(frozen=True)
class _Done:
    """What is written of a field; `starved` where memory did not suffice for it."""

    quality: dict[str, Any]
    cells: list[dict[str, Any]] = dataclass_field(default_factory=list)
    labels: Labels | None = None
    starved: bool = False


def segment_fields(
    images_dir: str | Path,
    fields: pd.DataFrame,
    segmenter: Segmenter,
    masks_path: str | Path,
    cells_path: str | Path,
    qc_path: str | Path,
    *,
    camera: Camera = NO_CORRECTION,
    compare_with: Segmenter | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Label nuclei and cells in every field of a shard, measure the cells, and note the quality of the fields.

    A field whose images cannot be used, or with which anything else fails, is set aside: it has a row with the reason in
    the table of quality and no label images, and the others go on. Where something unforeseen fails with every field, it is
    not the fields, and ends the shard. Reading, networks, and writing overlap; what is written does not depend on that.

    Parameters
    ----------
    images_dir : folder with the images of the shard and their ledger
    fields : table of fields, see `subcell.catalog.fields`
    segmenter : finds nuclei and cells
    masks_path : folder of label images to write (zarr)
    cells_path : table of cells to write (parquet, `CELLS_SCHEMA`)
    qc_path : table of fields to write (parquet, `QC_SCHEMA`)
    camera : corrections that come before everything else
    compare_with : another segmenter, whose agreement with the first is noted for each field
    workers : threads that turn flows into labels
    progress : wraps the loop over fields, as tqdm does

    Returns
    -------
    DataFrame of the fields, as written to `qc_path`; status is "ok", "no cells" or "set aside"
    """
    segmenters = [segmenter] if compare_with is None else [segmenter, compare_with]
    ledger = read_ledger(images_dir)
    cells: list[dict[str, Any]] = []
    quality: list[dict[str, Any]] = []
    starved: set[str] = set()

    unforeseen: dict[str, Exception] = {}

    def reason(error: Exception, field: dict[str, Any], step: str) -> str:
        text = reason_of(error, field["field_id"], step)
        if not isinstance(error, SubcellError):
            unforeseen[field["field_id"]] = error
        return text

    def read(field: dict[str, Any]) -> _Read:
        image = None
        try:
            image, present = read_field(images_dir, ledger, field["field_id"])
            about = _about_pixels(image, present)
            image, offsets = camera.correct(image, present, plate=field.get("plate"))
            about["camera_offset"] = ";".join(f"{channel}={counts:g}" for channel, counts in offsets.items())
            prepared = tuple(one.prepare(image, present, field["pixel_size_um"]) for one in segmenters)
        except Exception as error:
            if is_out_of_memory(error):
                return _Read(field, problem=_too_large(image), starved=True)
            problem = _download_reason(ledger, field["field_id"])
            return _Read(field, problem=problem or reason(error, field, "reading"))
        return _Read(field, image, present, prepared, about)

    def batch_of(one: _Read) -> tuple[object, int]:
        if one.problem:
            return None, 1
        try:
            most = min(by.fields_a_batch(seen) for by, seen in zip(segmenters, one.prepared, strict=True))
        except Exception:
            return object(), 1  # in a batch of its own, where it fails alone if it does
        # Half-finished fields stay in memory: no more of them than a gigabyte.
        return tuple(seen.image.shape for seen in one.prepared), min(most, max(1, BATCH_BYTES // _size(one)))

    def predict(batch: list[_Read]) -> list[list[Flows] | Exception]:
        if batch[0].problem:
            return [[] for _ in batch]
        try:
            by_segmenter = [by.predict([one.prepared[n] for one in batch]) for n, by in enumerate(segmenters)]
            return [list(flows) for flows in zip(*by_segmenter, strict=True)]
        except Exception as error:
            # Alone each of them may do; one that does not is set aside.
            return [error] if len(batch) == 1 else [flows for one in batch for flows in predict([one])]

    def finish(one: _Read, flows: list[Flows] | Exception) -> _Done:
        if one.problem or one.image is None:
            return _set_aside(one.field, one.problem, starved=one.starved)
        try:
            if isinstance(flows, Exception):
                raise flows
            found = [by.finish(seen, flow) for by, seen, flow in zip(segmenters, one.prepared, flows, strict=True)]
            return _measured(one, found)
        except Exception as error:
            if is_out_of_memory(error):
                return _set_aside(one.field, _too_large(one.image), starved=True)
            return _set_aside(one.field, reason(error, one.field, "segmenting"))

    def write(done: _Done) -> None:
        quality.append(done.quality)
        cells.extend(done.cells)
        if done.labels is not None:
            masks.append(
                done.quality["field_id"],
                done.labels.nuclei,
                done.labels.cells,
                pixel_size_um=done.quality["pixel_size_um"],
            )

    # In the order of their ids, so that the files do not depend on the order of a sheet.
    rows = fields.sort_values("field_id").to_dict("records")
    with create_masks(masks_path) as masks:
        overlapped(
            progress(rows) if progress else rows,
            read=read,
            batch_of=batch_of,
            predict=predict,
            finish=finish,
            write=lambda done: starved.add(done.quality["field_id"]) if done.starved else write(done),
            workers=workers,
        )
        # Those may have been small ones beside a large one: each has all the memory once.
        for field in rows:
            if field["field_id"] in starved:
                alone = read(field)
                write(finish(alone, predict([alone])[0]))
                del alone
        if len(unforeseen) == len(rows) > 1:
            raise next(iter(unforeseen.values()))
    cells.sort(key=lambda cell: cell["field_id"])
    quality.sort(key=lambda field: field["field_id"])
    write_table(cells, CELLS_SCHEMA, cells_path)
    return write_table(quality, QC_SCHEMA, qc_path)


def _set_aside(field: dict[str, Any], reason: str, *, starved: bool = False) -> _Done:
    return _Done(_quality(field, status="set aside", reason=reason, cells=0, touching_border=0), starved=starved)


def _too_large(image: NDArray[Any] | None) -> str:
    size = "the field" if image is None else f"a field of {image.shape[1]} x {image.shape[2]} pixels"
    return f"memory does not suffice for {size}"


def _size(one: _Read) -> int:
    """Bytes that a field takes until it is written: itself, both label images, and what the networks see and say."""
    assert one.image is not None
    return int(one.image.nbytes + 8 * one.image[0].size + sum(4 * seen.image.nbytes for seen in one.prepared))


def _measured(one: _Read, found: list[Labels]) -> _Done:
    assert one.image is not None
    um, labels = one.field["pixel_size_um"], found[0]
    cells = measure_cells(
        one.image,
        labels.nuclei,
        labels.cells,
        field_id=one.field["field_id"],
        present=one.present,
        pixel_size_um=um,
        nuclei_in_cell=labels.nuclei_in_cell,
        cell_body=labels.cell_body,
    )
    constant = constant_channels(one.image, one.present)
    no_cells = "the nucleus channel is constant" if "nucleus" in constant else "no cell was found"
    about = field_quality(one.image, one.present, cells, pixel_size_um=um)
    whole = about["cells"] - about["touching_border"]
    quality = _quality(
        one.field,
        status="ok" if cells else "no cells",
        reason="" if cells else no_cells,
        constant_channels=";".join(constant),
        cell_body=labels.cell_body,
        pixel_size_warning=pixel_size_warning(whole, diameter_um=about["nucleus_diameter_um"], pixel_size_um=um),
        agreement_f1=_agreement(found),
        **one.about,
        **about,
    )
    return _Done(quality, cells, labels)


def _about_pixels(image: NDArray[Any], present: tuple[str, ...]) -> dict[str, Any]:
    stretched = [channel for n, channel in enumerate(CHANNELS) if channel in present and is_stretched(image[n])]
    depth = {"bit_depth": bit_depth(image), "stretched_channels": ";".join(stretched)}
    return depth | picture_quality(image, present)


def _agreement(found: list[Labels]) -> float:
    """F1 at an overlap of 0.5 between the cells of two segmenters; 1 where neither found any."""
    if len(found) < 2:
        return float("nan")
    score = float(score_masks(found[0].cells, found[1].cells, (0.5,))["f1"][0, 0])
    return 1.0 if np.isnan(score) else score


def _quality(field: dict[str, Any], **measured: Any) -> dict[str, Any]:
    row = {"field_id": field["field_id"], "constant_channels": "", "pixel_size_warning": "", **measured}
    row |= {name: field.get(name) for name in ("plate", "pixel_size_um", "pixel_size_source")}
    empty = {name: np.nan for name, kind in zip(QC_SCHEMA.names, QC_SCHEMA.types, strict=True) if kind == "double"}
    return empty | row


def _download_reason(ledger: pd.DataFrame, field_id: str) -> str:
    """Why the images of a field did not arrive; empty where they did."""
    rows = ledger[(ledger["field_id"] == field_id) & (ledger["channel"].isin(CHANNELS)) & (ledger["status"] != "ok")]
    return "; ".join(f"{row.channel}: {row.reason}" for row in rows.itertuples(index=False))
