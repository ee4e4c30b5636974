"""Where a release of the Human Protein Atlas lies, and under which terms."""

import gzip
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from subcell.catalog.names import location_name
from subcell.errors import SheetError

LICENCE = "Creative Commons Attribution-ShareAlike; its version stands on the licence page of the release"
CITATIONS = (
    "Thul PJ et al. A subcellular map of the human proteome. Science 356, eaal3321 (2017). doi:10.1126/science.aal3321",
    "Uhlen M et al. Tissue-based map of the human proteome. Science 347, 1260419 (2015). doi:10.1126/science.1260419",
)

_NEW_TABLES = 24
"""From this release on, tables lie in a folder of their own."""

MAX_TABLE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Release:
    """One release, v18 to v25: addresses of its files.

    Archived releases stay under their own host; images lie there too, or on a host of their own.
    """

    name: str

    @property
    def site(self) -> str:
        return f"https://{self.name}.proteinatlas.org"

    @property
    def xml(self) -> str:
        """Everything about all genes, about a gigabyte packed and many unpacked."""
        return f"{self.site}/download/proteinatlas.xml.gz"

    def entry(self, ensembl_id: str) -> str:
        """Everything about one gene."""
        return f"{self.site}/{ensembl_id}.xml"

    @property
    def location_table(self) -> str:
        """Locations and reliability of all genes."""
        folder = "download/tsv" if int(self.name[1:]) >= _NEW_TABLES else "download"
        return f"{self.site}/{folder}/subcellular_location.tsv.zip"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where its files lie and may be redirected to."""
        own = f"{self.name}.proteinatlas.org"
        return own, "proteinatlas.org", "www.proteinatlas.org", "images.proteinatlas.org"

    def terms(self) -> dict[str, Any]:
        """Licence and attribution, for everything that shows its images."""
        return {
            "source": "Human Protein Atlas",
            "release": self.name,
            "url": self.site,
            "licence": LICENCE,
            "licence_url": f"{self.site}/about/licence",
            "attribution": f"Image credit: Human Protein Atlas, {self.site}",
            "citations": list(CITATIONS),
        }


def read_location_table(path: str | Path) -> pd.DataFrame:
    """Read the table of locations of a release.

    Parameters
    ----------
    path : subcellular_location.tsv, or the same in a zip or gzip file

    Returns
    -------
    DataFrame of text: ensembl_id (unique), gene, reliability (lower case), locations (main and additional, ";" between
    them)

    Raises
    ------
    SheetError : missing, damaged, too large, or without these columns
    """
    try:
        table = pd.read_csv(_table_text(Path(path)), sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SheetError(f"{path}: cannot read the table of locations ({error})") from error
    needed = ("Gene", "Gene name", "Reliability")
    missing = [name for name in needed if name not in table]
    if missing:
        raise SheetError(f"{path}: the table of locations lacks the columns {', '.join(missing)}")
    main, additional = (table.get(f"{part} location", pd.Series("", table.index)) for part in ("Main", "Additional"))
    locations = [_locations(f"{one};{other}") for one, other in zip(main, additional, strict=True)]
    columns: Mapping[str, Any] = {
        "ensembl_id": table["Gene"],
        "gene": table["Gene name"],
        "reliability": table["Reliability"].str.lower(),
        "locations": locations,
    }
    return pd.DataFrame(columns, dtype=object).drop_duplicates("ensembl_id", ignore_index=True)


def _locations(text: str) -> str:
    return ";".join(dict.fromkeys(location_name(part) for part in text.split(";") if part.strip()))


def _table_text(path: Path) -> io.BytesIO:
    """The table, unpacked; a packed file that unpacks to far more is refused."""
    with open(path, "rb") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b":
        with gzip.open(path) as packed:
            data = packed.read(MAX_TABLE_BYTES + 1)
    elif start == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as member:
            data = member.read(MAX_TABLE_BYTES + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(MAX_TABLE_BYTES + 1)
    if len(data) > MAX_TABLE_BYTES:
        raise ValueError(f"more than {MAX_TABLE_BYTES:,} bytes")
    return io.BytesIO(data)
