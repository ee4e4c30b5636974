"""The table of fields of view: one row a field, the same columns whatever the source."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from subcell.catalog.splits import assign_split
from subcell.channels import CHANNELS, REFERENCES
from subcell.errors import SheetError
from subcell.replacing import replacing

__all__ = [
    "DESCRIPTION_COLUMNS",
    "FIELD_COLUMNS",
    "PATH_COLUMNS",
    "WHOLE_FILE",
    "as_fields",
    "assign_shards",
    "assign_split",
    "read_fields",
    "shard_of",
    "shared_channels",
    "write_fields",
]

DESCRIPTION_COLUMNS = (
    *("plate", "well", "site", "batch", "cell_line", "antibody", "gene", "ensembl_id"),
    *("reliability", "locations", "label_level", "compound", "dose", "control", "mechanism"),
)
"""What may be known of a field besides its images; all optional text."""

PATH_COLUMNS = (*CHANNELS, *REFERENCES)

FIELD_COLUMNS = (
    *("field_id", "shard"),
    *DESCRIPTION_COLUMNS,
    *("pixel_size_um", "pixel_size_source", "split"),
    *PATH_COLUMNS,
)

WHOLE_FILE = "all"
"""Field of the cells of a file that says no fields."""

_NUMBERS = {"shard": pa.int64(), "pixel_size_um": pa.float64()}
_MISSING = {"shard": 0, "pixel_size_um": float("nan")}
_SCHEMA = pa.schema([(name, _NUMBERS.get(name, pa.string())) for name in FIELD_COLUMNS])


def shard_of(field_id: str, shards: int) -> int:
    """Shard of a field: the first 8 bytes of the sha256 of its id, modulo `shards`.

    It depends on nothing else, so adding fields never moves others.
    """
    return int.from_bytes(hashlib.sha256(field_id.encode()).digest()[:8], "big") % shards


def assign_shards(fields: pd.DataFrame, shards: int) -> pd.DataFrame:
    """Copy of `fields` with the column `shard` filled in."""
    return fields.assign(shard=[shard_of(field_id, shards) for field_id in fields["field_id"]])


def as_fields(table: pd.DataFrame) -> pd.DataFrame:
    """Bring a table to exactly `FIELD_COLUMNS`, in order, with None for text that is missing.

    Parameters
    ----------
    table : DataFrame with at least `field_id`; other field columns may be absent

    Raises
    ------
    SheetError : a column that is no field column, or a field_id that is missing or occurs twice
    """
    unknown = [name for name in table.columns if name not in FIELD_COLUMNS]
    if unknown:
        raise SheetError(f"A table of fields has no column {', '.join(map(repr, unknown))}; it has {FIELD_COLUMNS}")
    if "field_id" not in table.columns or table["field_id"].isna().any():
        raise SheetError("Every row of a table of fields needs a field_id")
    twice = table["field_id"][table["field_id"].duplicated()].unique()
    if len(twice):
        raise SheetError(f"field_id {twice[0]!r} occurs more than once in a table of fields; ids must be unique")
    columns: dict[str, object] = {}
    for name in FIELD_COLUMNS:
        if name not in table:
            columns[name] = [_MISSING.get(name)] * len(table)
        elif name in _NUMBERS:
            columns[name] = table[name].to_numpy()
        else:
            columns[name] = [_text(value) for value in table[name]]
    fields = pd.DataFrame(columns, columns=list(FIELD_COLUMNS), dtype=object)
    return fields.astype({"shard": "int64", "pixel_size_um": "float64"})


def _text(value: object) -> str | None:
    if value is None or type(value) is str:
        return value
    return None if pd.isna(value) else str(value)


def write_fields(fields: pd.DataFrame, path: str | Path) -> None:
    """Write fields as parquet; the same fields in any order give the same bytes.

    Rows are sorted by field_id and no pandas metadata is kept, so that a shard whose fields did not change is not
    rewritten with other content, which would rerun all that follows.
    """
    ordered = as_fields(fields).sort_values("field_id", kind="stable", ignore_index=True)
    table = pa.Table.from_pandas(ordered, schema=_SCHEMA, preserve_index=False).replace_schema_metadata(None)
    with replacing(path) as to:
        pq.write_table(table, to, compression="zstd")


def read_fields(paths: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Read one or several shards of fields.

    Returns
    -------
    DataFrame with `FIELD_COLUMNS`, missing text as None, in the order of `paths`
    """
    many = [paths] if isinstance(paths, str | Path) else list(paths)
    tables = [pq.read_table(path, schema=_SCHEMA) for path in many]
    table = pa.concat_tables(tables) if tables else _SCHEMA.empty_table()
    return table.to_pandas()


def shared_channels(fields: pd.DataFrame) -> tuple[str, ...]:
    """Channels that every field of a table has.

    Parameters
    ----------
    fields : see `read_fields`. Published crops bring all channels: a field of theirs names no images of its own.
    """
    named = fields[list(CHANNELS)].notna()
    return tuple(channel for channel in CHANNELS if (named[channel] | ~named.any(axis=1)).all())
