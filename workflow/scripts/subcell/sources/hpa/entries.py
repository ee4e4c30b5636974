"""Read the Human Protein Atlas's XML: every image of every antibody of a gene, one entry at a time."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import pandas as pd
from lxml import etree

from subcell.catalog.names import cell_line_name, location_name
from subcell.errors import SheetError

_COLORS = "blue|red|green|yellow"
_IMAGE = re.compile(rf"(?P<stem>.+?)_(?:{_COLORS})(?:_(?:{_COLORS}))*\.(?P<extension>jpe?g|png|tiff?)", re.IGNORECASE)
LOG_EVERY = 2000


@dataclass(frozen=True, slots=True)
class Image:
    """One field of view of one antibody in one entry; "" where the entry does not say.

    ensembl_id, gene : of the entry; an antibody against several genes stands in the entry of each
    antibody : e.g. HPA030741
    assay : `human` (the usual staining), or what else the release holds, e.g. `gfp`, `sirna`, `mouse`
    cell_line : in the usual spelling
    locations : of this antibody in this cell line, ";" between them
    validation : of this antibody: enhanced, supported, approved or uncertain
    reliability : of the gene, the same words
    image : address without colour and extension, e.g. https://.../30741/800_A6_1
    extension : of the files, e.g. jpg
    """

    ensembl_id: str
    gene: str
    antibody: str
    assay: str
    cell_line: str
    locations: str
    validation: str
    reliability: str
    image: str
    extension: str


IMAGE_COLUMNS = tuple(field.name for field in fields(Image))


def read_entries(path: str | Path, *, log: Callable[[str], None] = print) -> pd.DataFrame:
    """Read all images of an XML file.

    Parameters
    ----------
    path : proteinatlas.xml, .xml.gz, or the file of one entry; memory holds one entry at a time

    Returns
    -------
    DataFrame of text with `IMAGE_COLUMNS`, in the order of the file

    Raises
    ------
    SheetError : missing, damaged, cut off, or no such file
    """
    columns: dict[str, list[str]] = {name: [] for name in IMAGE_COLUMNS}
    count = 0
    try:
        with _opened(Path(path)) as file:
            for entry in _entries(file):
                count += 1
                for image in images_of(entry):
                    for name in IMAGE_COLUMNS:
                        columns[name].append(getattr(image, name))
                if count % LOG_EVERY == 0:
                    log(f"{count:,} genes, {len(columns['image']):,} images")
    except OSError as error:
        raise SheetError(f"{path}: cannot read ({error.strerror or error})") from error
    except (EOFError, zlib.error, etree.XMLSyntaxError) as error:
        raise SheetError(
            f"{path}: damaged or cut off behind gene {count:,} ({error}); delete it, so that it is fetched again"
        ) from error
    if not count:
        raise SheetError(f"{path}: holds no entry of the Human Protein Atlas")
    log(f"{path}: {count:,} genes, {len(columns['image']):,} images")
    return pd.DataFrame(columns, dtype=object)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if packed:
            with gzip.open(raw, "rb") as file:
                yield file  # type: ignore[misc]
        else:
            yield raw


def _entries(file: IO[bytes]) -> Iterator[Any]:
    """Elements `entry`, each emptied when the next is asked for."""
    # No entities and no network: the file comes from outside.
    reader = etree.iterparse(file, events=("end",), tag="entry", resolve_entities=False, no_network=True)
    for _, entry in reader:
        yield entry
        entry.clear()
        while entry.getprevious() is not None:
            del entry.getparent()[0]


def images_of(entry: Any) -> Iterator[Image]:
    """Images of an entry: HPA's own stainings of cells, not those of tissue.

    Parameters
    ----------
    entry : lxml element `entry`
    """
    gene = _text(entry.find("name"))
    identifier = entry.find("identifier[@db='Ensembl']")
    ensembl_id = "" if identifier is None else identifier.get("id", "")
    reliability = _text(entry.find("cellExpression[@source='HPA']/verification[@type='reliability']")).lower()
    for antibody in entry.iterchildren("antibody"):
        for expression in antibody.iterchildren("cellExpression"):
            if expression.get("source") != "HPA":
                continue
            # Where a release has no parts, all is the usual staining.
            for part in expression.findall("subAssay") or [expression]:
                assay = part.get("type", "human").lower()
                validation = _text(part.find("verification")).lower()
                for data in part.iterchildren("data"):
                    locations = [
                        location_name(_text(location))
                        for location in data.iter("location")
                        if location.getparent().tag != "gfpData" and _text(location)
                    ]
                    known = {
                        "ensembl_id": ensembl_id,
                        "gene": gene,
                        "antibody": antibody.get("id", ""),
                        "assay": assay,
                        "cell_line": cell_line_name(_text(data.find("cellLine"))),
                        "locations": ";".join(dict.fromkeys(locations)),
                        "validation": validation,
                        "reliability": reliability,
                    }
                    for url in data.iterfind(".//image/imageUrl"):
                        match = _IMAGE.fullmatch(_text(url))
                        if match:
                            yield Image(**known, image=match["stem"], extension=match["extension"])


def _text(element: Any) -> str:
    return "" if element is None else (element.text or "").strip()
