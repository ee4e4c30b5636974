"""Quality of every field after segmentation, which fields differ from the others, and what the download brought."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import pandas as pd

from subcell.segmentation.pixel_size import beside_other_fields
from subcell.segmentation.plates import LIMIT, robust_z
from subcell.segmentation.tables import QC_SCHEMA

MEASURES = {
    "cells": "Cells a field",
    "nucleus_area_um2": "Nucleus, median, µm²",
    "cell_area_um2": "Cell, median, µm²",
    "focus": "Focus of the DNA channel",
    "saturated_fraction": "Saturated pixels, share",
    "agreement_f1": "Agreement of two segmenters, F1",
}
ABOUT_PIXELS = ("border_fraction", "bit_depth", "stretched_channels", "camera_offset", "pixel_size_warning")
FIELD_QUALITY_COLUMNS = ("field_id", "cell_line", "plate", "status", *MEASURES, *ABOUT_PIXELS, "unusual")
DOWNLOADS_COLUMNS = ("channel", "host", "status", "reason", "files", "bytes", "retried", "tries")

FEWEST_TO_COMPARE = 8
"""A line with fewer fields is compared with the dataset."""


def field_quality_table(qc: pd.DataFrame, fields: pd.DataFrame) -> pd.DataFrame:
    """One row a field, `FIELD_QUALITY_COLUMNS`; `unusual` names the measures in which it differs from its cell line.

    Parameters
    ----------
    qc : segmentation's table of fields
    fields : table of fields

    Notes
    -----
    A field is compared with those of its line (lines of fewer than `FEWEST_TO_COMPARE` with each other): unusual is a
    `robust_z` beyond `LIMIT`, as in the tables of plates; for focus and agreement only below, for saturation only above. Its
    pixel size is unusual where nuclei are of a size that none have, or beside those of its line.
    """
    known = fields.set_index("field_id")
    qc = qc.reindex(columns=list(QC_SCHEMA.names))
    table = pd.DataFrame({"field_id": qc["field_id"], "status": qc["status"]})
    for name in ("cell_line", "plate"):
        table[name] = table["field_id"].map(known[name]).fillna("") if name in known else ""
    for name in MEASURES:
        table[name] = pd.to_numeric(qc[name], errors="coerce").to_numpy()
    for name in ABOUT_PIXELS:
        table[name] = qc[name].to_numpy()
    good = table["status"] == "ok"
    sizes = table[good].groupby("cell_line")["field_id"].transform("size")
    group = table["cell_line"].where(sizes.reindex(table.index).fillna(0) >= FEWEST_TO_COMPARE, "")
    unusual = pd.Series("", index=table.index)
    for name, title in MEASURES.items():
        by_group = table[good].groupby(group[good])[name]
        scores = by_group.transform(lambda values, name=name: robust_z(values.to_numpy(float), name))
        one_sided = {"focus": -scores, "agreement_f1": -scores, "saturated_fraction": scores}
        beyond = one_sided.get(name, scores.abs()) > LIMIT
        marked = beyond.reindex(table.index).fillna(False).astype(bool)
        unusual[marked] += title.split(",")[0].lower() + "; "
    alone = qc["pixel_size_warning"].fillna("").to_numpy()
    table["pixel_size_warning"] = [
        a or b for a, b in zip(alone, beside_other_fields(qc, table["cell_line"]), strict=True)
    ]
    unusual[table["pixel_size_warning"] != ""] += "pixel size; "
    return table.assign(unusual=unusual.str.removesuffix("; "))[list(FIELD_QUALITY_COLUMNS)]


def downloads_table(ledgers: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """What all ledgers of a dataset say, `DOWNLOADS_COLUMNS`: one row a channel, host, status and reason.

    `host` is "" for files that were on disk or simulated, `retried` counts files that needed more than one try.
    """
    tables = [ledger for ledger in ledgers if len(ledger)]
    if not tables:
        return pd.DataFrame(columns=list(DOWNLOADS_COLUMNS))
    ledger = pd.concat(tables, ignore_index=True)
    ledger = ledger.assign(
        host=[urlsplit(url).hostname or "" if url.startswith(("http:", "https:")) else "" for url in ledger["url"]],
        retried=(ledger["tries"] > 1).astype(int),
        files=1,
    )
    keys = ["channel", "host", "status", "reason"]
    sums = ledger.groupby(keys, sort=True)[["files", "bytes", "retried", "tries"]].sum().reset_index()
    return sums[list(DOWNLOADS_COLUMNS)]
