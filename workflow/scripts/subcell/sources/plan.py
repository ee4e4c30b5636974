"""What a download will cost, before anything is fetched."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from subcell.sources.download import Cache, Record, host_of

ASSUMED_BYTES = {"subcell_crops": 2_100_000}
"""A file of a source until files have been fetched: half of what a published crop and its mask take on average."""

ASSUMED_IMAGE_BYTES = 520_000
"""The same of other sources: the four channels of five real HPA fields of about 2048 px, as JPEG of quality 90."""

ASSUMED_SECONDS = 1.0
"""A request over one connection, from asking to the last byte: an assumption until files have been fetched."""

ENOUGH = 20
"""With so many files fetched from a host their mean is used instead."""


@dataclass(frozen=True)
class Plan:
    """What a dataset still has to fetch.

    dataset, host : which part of the work
    fields, files : how many there are
    cached, cached_bytes : of the files, how many are there already, and their size
    missing_bytes, seconds : expected of the others, at the polite rate
    measured : whether that rests on files fetched before, else on assumptions
    """

    dataset: str
    host: str
    fields: int
    files: int
    cached: int
    cached_bytes: int
    missing_bytes: float
    seconds: float
    measured: bool


def plan_download(
    dataset: str, source: str, files: Iterable[tuple[str, str]], cache: Cache, *, connections: int
) -> list[Plan]:
    """Expected size and time of a dataset's files, host by host.

    Parameters
    ----------
    dataset, source : its name and where it comes from
    files : (field_id, address) of every file on the web
    cache : what was fetched before
    connections : to one host
    """
    urls: dict[str, set[str]] = {}
    owners: dict[str, set[str]] = {}
    for field_id, url in files:
        host = host_of(url)
        urls.setdefault(host, set()).add(url)
        owners.setdefault(host, set()).add(field_id)
    # One pass over the records: asking for each file by itself takes long with a million of them.
    records = list(cache.records()) if urls else []
    assumed = ASSUMED_BYTES.get(source, ASSUMED_IMAGE_BYTES)
    return [_plan(dataset, host, len(owners[host]), urls[host], records, connections, assumed) for host in sorted(urls)]


def _plan(
    dataset: str,
    host: str,
    fields: int,
    urls: set[str],
    records: Sequence[Record],
    connections: int,
    assumed_bytes: int,
) -> Plan:
    there = [record for record in records if record.url in urls]
    images = [record for record in records if host_of(record.url) == host and record.url.endswith(_SUFFIXES)]
    measured = len(images) >= ENOUGH
    a_file = sum(record.bytes for record in images) / len(images) if measured else assumed_bytes
    a_request = sum(record.seconds for record in images) / len(images) if measured else ASSUMED_SECONDS
    missing = len(urls) - len(there)
    return Plan(
        dataset,
        host,
        fields,
        len(urls),
        len(there),
        sum(record.bytes for record in there),
        missing * a_file,
        missing * a_request / connections,
        measured,
    )


_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def describe_plans(plans: Iterable[Plan], *, connections: int) -> str:
    """The plan as a table for the terminal."""
    lines = [f"{'dataset':16} {'host':32} {'fields':>9} {'files':>9} {'are there':>9} {'to fetch':>11} {'time':>9}"]
    note = set()
    for plan in plans:
        lines.append(
            f"{plan.dataset:16} {plan.host:32} {plan.fields:9,} {plan.files:9,} {plan.cached:9,} "
            f"{_size(plan.missing_bytes):>11} {_duration(plan.seconds):>9}"
        )
        note.add(
            "measured on files fetched from this host before"
            if plan.measured
            else f"assumed: {plan.missing_bytes / max(1, plan.files - plan.cached) / 1e6:.1f} MB a file and "
            f"{ASSUMED_SECONDS:g} s a request"
        )
    if len(lines) == 1:
        return "Nothing lies on the web: no dataset has files to fetch."
    return "\n".join(
        [*lines, f"With {connections} connections to a host; sizes and times are {'; '.join(sorted(note))}."]
    )


def plans_table(plans: Iterable[Plan]) -> pd.DataFrame:
    """The plan as a table, one row a dataset and host."""
    return pd.DataFrame([vars(plan) for plan in plans], columns=list(Plan.__dataclass_fields__))


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _duration(seconds: float) -> str:
    for length, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
