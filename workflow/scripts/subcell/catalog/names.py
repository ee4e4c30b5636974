"""One spelling for each cell line and location, whatever the source calls it."""

import csv
import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

LOCATIONS_FILE = Path(__file__).parents[4] / "resources" / "location_classes.tsv"

CELL_LINES_FILE = LOCATIONS_FILE.with_name("cell_lines.tsv")
"""Spellings of the Human Protein Atlas's pages; its own tables write "U2OS", "Rh30", "A-549", "NB-4", "U-251MG"."""

_OTHER_LOCATIONS = ("Cleavage furrow", "Microtubule ends", "Midbody ring", "Nucleus", "Rods & Rings")
"""Locations of HPA that are no class of SubCell's classifiers."""


def cell_line_name(text: str) -> str:
    """The usual spelling of a cell line; a line that is not known stays as it is.

    >>> cell_line_name("U2OS"), cell_line_name("Rh30"), cell_line_name("my line")
    ('U-2 OS', 'RH-30', 'my line')
    """
    text = " ".join(text.split())
    return _spellings().get(plain(text), text)


def tissue_of(line: str) -> str:
    """Tissue and origin of a cell line in any spelling, "" where the table of lines does not say it.

    >>> tissue_of("U2OS"), tissue_of("my line")
    ('bone, osteosarcoma', '')
    """
    return _tissues().get(cell_line_name(line), "")


def location_name(text: str) -> str:
    """The usual spelling of a location, whose first letter releases write differently.

    >>> location_name("golgi apparatus"), location_name("Cell junctions")
    ('Golgi apparatus', 'Cell Junctions')
    """
    text = " ".join(text.split())
    return _locations().get(text.casefold(), text[:1].upper() + text[1:])


def plain(text: str) -> str:
    """Letters and digits alone, in lower case: what spellings of one name have in common."""
    return re.sub(r"[^a-z0-9]", "", text.casefold())


def match_names(wanted: Iterable[str], known: Iterable[str], what: str) -> tuple[set[str], list[str]]:
    """Find names in whatever spelling.

    Parameters
    ----------
    wanted : what the user wrote
    known : what there is
    what : what a name is, for the message

    Returns
    -------
    found : of `known`
    problems : a line for each name that is not there, with the nearest ones
    """
    by_plain: dict[str, set[str]] = {}
    for name in known:
        by_plain.setdefault(plain(name), set()).add(name)
    found: set[str] = set()
    problems = []
    for name in wanted:
        if plain(name) in by_plain:
            found |= by_plain[plain(name)]
        else:
            problems.append(f"{what} {name!r} is not there{_nearest(name, by_plain)}")
    return found, problems


def _nearest(name: str, by_plain: Mapping[str, set[str]]) -> str:
    close = difflib.get_close_matches(plain(name), by_plain, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(sorted(min(by_plain[key]) for key in close))}?" if close else ""


@cache
def _spellings() -> dict[str, str]:
    return {plain(name): name for name in _tissues()}


@cache
def _tissues() -> dict[str, str]:
    with open(CELL_LINES_FILE, encoding="utf-8", newline="") as file:
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        return {row["cell_line"]: ", ".join(filter(None, (row["tissue"], row["origin"]))) for row in rows}


@cache
def _locations() -> dict[str, str]:
    with open(LOCATIONS_FILE, encoding="utf-8", newline="") as file:
        classes = [row["location"] for row in csv.DictReader(file, delimiter="\t")]
    return {name.casefold(): name for name in (*classes, *_OTHER_LOCATIONS) if name != "Negative"}
