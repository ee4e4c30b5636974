"""What a dataset holds after segmentation, and everything that was set aside with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from subcell.catalog.fields import read_fields
from subcell.catalog.set_aside import join_set_aside, read_set_aside, set_aside_table, write_set_aside
from subcell.imaging.ledger import read_ledger
from subcell.reporting.quality.field_quality import downloads_table, field_quality_table
from subcell.tables import write_table

QUALITY_COLUMNS = ("dataset", "cell_line", "metric", "value", "unit")
NOT_GIVEN = "not given"
"""What stands for the cell line of a field whose line nobody wrote down."""

Paths = str | Path | Iterable[str | Path]


def collect_quality(
    set_aside_tsvs: Paths,
    image_dirs: Paths,
    qc_paths: Paths,
    cells_paths: Paths,
    out_set_aside_tsv: str | Path,
    out_quality_tsv: str | Path,
    *,
    dataset: str,
    border_cells: Literal["keep", "drop"] = "keep",
    fields_paths: Paths = (),
    out_field_quality_tsv: str | Path | None = None,
    out_downloads_tsv: str | Path | None = None,
) -> None:
    """Join what all stages say of the fields of a dataset.

    Parameters
    ----------
    set_aside_tsvs : tables of the sheet's rows that could not be used, and of fields that could not be cropped
    image_dirs : image folder of every shard, each with its ledger
    qc_paths : segmentation's table of fields of every shard
    cells_paths : table of cells of every shard
    out_set_aside_tsv : table to write, columns field_id, row, stage, reason
    out_quality_tsv : tidy table to write, columns `QUALITY_COLUMNS`
    dataset : its name
    border_cells : whether cells that the edge of their field cuts were cropped
    fields_paths : table of fields of every shard; without it nothing is counted per cell line, gene or antibody
    out_field_quality_tsv, out_downloads_tsv : tables to write, see `subcell.reporting.quality.field_quality`

    Notes
    -----
    Fields in the sheet = fields segmented + fields without cells + fields set aside; a field that was segmented but could
    not be cropped counts as set aside, and its cells are not counted.
    """
    ledgers = [read_ledger(folder) for folder in _listed(image_dirs)]
    qc = _read_tables(qc_paths, ["field_id", "status", "reason"])
    cells = _read_tables(cells_paths, ["field_id", "touches_border", "nucleus_area_um2", "cell_area_um2"])
    fields = read_fields(_listed(fields_paths))
    given = [read_set_aside(path) for path in _listed(set_aside_tsvs)]

    table = join_set_aside([*given, _set_aside_by_download(ledgers), _set_aside_by_segmentation(qc)])
    table = _first_stage_only(table)
    write_set_aside(table, out_set_aside_tsv)
    write_table(quality_table(table, qc, cells, fields, dataset=dataset, border_cells=border_cells), out_quality_tsv)
    if out_field_quality_tsv:
        write_table(field_quality_table(qc, fields), out_field_quality_tsv)
    if out_downloads_tsv:
        write_table(downloads_table(ledgers), out_downloads_tsv)


def quality_table(
    set_aside: pd.DataFrame,
    qc: pd.DataFrame,
    cells: pd.DataFrame,
    fields: pd.DataFrame,
    *,
    dataset: str,
    border_cells: Literal["keep", "drop"] = "keep",
) -> pd.DataFrame:
    """Count and measure a dataset, in total and per cell line.

    Parameters
    ----------
    set_aside : table of what was set aside, fields without cells included
    qc : one row a field, with field_id and status ("ok", "no cells" or "set aside")
    cells : one row a cell, with field_id, touches_border, nucleus_area_um2 and cell_area_um2
    fields : table of fields; may be empty
    dataset : its name
    border_cells : whether cells that the edge of their field cuts were cropped

    Returns
    -------
    DataFrame with `QUALITY_COLUMNS`; an empty `cell_line` means all fields of the dataset, an empty `unit` a count or
    share. `cells` are those that were segmented; where those at the border were dropped, models saw
    `cells_left_out_at_border` fewer. Rows of the sheet that were set aside have no known line and count in the total only.
    """
    lines = dict(zip(fields["field_id"], fields["cell_line"].fillna(NOT_GIVEN), strict=True))
    rows = _measure(
        set_aside, qc, cells, fields, rejected=int((set_aside["stage"] == "sheet").sum()), border_cells=border_cells
    )
    table = [("", *row) for row in rows]
    known = sorted(set(lines.values()) - {NOT_GIVEN})
    if known:
        later = set_aside[set_aside["stage"] != "sheet"]
        for line in [*known, *([NOT_GIVEN] if NOT_GIVEN in lines.values() else [])]:
            parts = (part[part["field_id"].map(lines) == line] for part in (later, qc, cells, fields))
            table += [(line, *row) for row in _measure(*parts, rejected=0, border_cells=border_cells)]
    return pd.DataFrame([(dataset, *row) for row in table], columns=list(QUALITY_COLUMNS))


def _measure(
    set_aside: pd.DataFrame,
    qc: pd.DataFrame,
    cells: pd.DataFrame,
    fields: pd.DataFrame,
    *,
    rejected: int,
    border_cells: str,
) -> list[tuple[str, float, str]]:
    """(metric, value, unit) of some fields; a median of nothing is left out."""
    uncropped = set(set_aside["field_id"][set_aside["stage"] == "crop"])
    segmented = set(qc["field_id"][qc["status"] == "ok"]) - uncropped
    cells = cells[cells["field_id"].isin(segmented)]
    empty = set(qc["field_id"][qc["status"] == "no cells"])
    later = set_aside[set_aside["stage"] != "sheet"]
    dropped = rejected + len(set(later["field_id"]) - segmented - empty)
    counts = cells["field_id"].value_counts().reindex(sorted(segmented), fill_value=0)
    measured: list[tuple[str, float, str]] = [
        ("fields_in_sheet", dropped + len(segmented) + len(empty), ""),
        ("fields_segmented", len(segmented), ""),
        ("fields_without_cells", len(empty), ""),
        ("fields_set_aside", dropped, ""),
        ("cells", len(cells), ""),
    ]
    if border_cells == "drop":
        measured.append(("cells_left_out_at_border", cells["touches_border"].astype(bool).sum(), ""))
    for name, column in (("cell_lines", "cell_line"), ("antibodies", "antibody"), ("genes", "gene")):
        if fields[column].notna().any():
            measured.append((name, fields[column].nunique(), ""))
    if len(counts):
        measured.append(("cells_per_field_median", counts.median(), ""))
    if len(cells):
        measured += [
            ("cells_touching_border_share", cells["touches_border"].astype(bool).mean(), ""),
            ("nucleus_area_median", cells["nucleus_area_um2"].median(), "um2"),
            ("cell_area_median", cells["cell_area_um2"].median(), "um2"),
        ]
    good = qc[qc["status"] == "ok"]
    for column, summary in (("focus", "median"), ("saturated_fraction", "mean"), ("agreement_f1", "mean")):
        values = good[column].dropna() if column in good else good["field_id"].iloc[:0]
        if len(values):
            measured.append((f"{column}_{summary}", getattr(values.astype(float), summary)(), ""))
    return [(name, float(value), unit) for name, value, unit in measured]


def _set_aside_by_download(ledgers: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row a field that has a file which could not be had; the reason names the channels."""
    rows = []
    for ledger in ledgers:
        failed = ledger[ledger["status"] == "set aside"]
        for field_id, files in failed.groupby("field_id", sort=True):
            by_reason = files.groupby("reason", sort=False)["channel"].agg(", ".join)
            reason = "; ".join(f"{channels}: {reason}" for reason, channels in by_reason.items())
            rows.append({"field_id": field_id, "stage": "download", "reason": reason})
    return set_aside_table(rows)


def _set_aside_by_segmentation(qc: pd.DataFrame) -> pd.DataFrame:
    """One row a field that segmentation refused, or in which it found nothing."""
    default = {"set aside": "segmentation gave no reason", "no cells": "no cell was found"}
    return set_aside_table(
        {"field_id": row.field_id, "stage": "segment", "reason": row.reason or default[row.status]}
        for row in qc.itertuples(index=False)
        if row.status in default
    )


def _first_stage_only(table: pd.DataFrame) -> pd.DataFrame:
    """Drop what a later stage says of a field that download already set aside: it only repeats it."""
    downloaded = set(table["field_id"][table["stage"] == "download"])
    return table[~(table["stage"].eq("segment") & table["field_id"].isin(downloaded))].reset_index(drop=True)


def _read_tables(paths: Paths, columns: list[str]) -> pd.DataFrame:
    """Rows of several parquet files; missing text is empty."""
    tables = [table for table in map(pd.read_parquet, _listed(paths)) if len(table)]
    if not tables:
        return pd.DataFrame(columns=columns)
    joined = pd.concat(tables, ignore_index=True)
    return joined.assign(**{name: joined[name].fillna("") for name in ("reason",) if name in joined})


def _listed(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)
