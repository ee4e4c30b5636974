"""Values of tables in our spelling, so that a sheet and a file of vectors are read alike."""

import re

from subcell.catalog.names import location_name
from subcell.catalog.splits import SPLITS

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})
"""What programs write where a table has no value."""

_LISTS = ("gene", "ensembl_id", "locations")
_WORDS = {
    "control": {"negative": "negative", "positive": "positive"},
    "label_level": {level: level for level in ("image", "antibody_line", "gene")},
    "split": {**{split: split for split in SPLITS}, "val": "valid", "validation": "valid"},
}

SPELT = (*_LISTS, *_WORDS)
"""Columns that `read_value` may change or refuse."""


def read_value(column: str, text: str) -> str | None:
    """Bring one value of a column to our spelling.

    Parameters
    ----------
    column : our name of it
    text : as the table has it. Genes, Ensembl ids and locations may be several, with ";" or "," between them; words of
        `control`, `label_level` and `split` may be in any case

    Returns
    -------
    None where there is none; several names with ";" between them, each once; locations as `location_name` spells them

    Raises
    ------
    ValueError : a word that the column does not know; the message names it and what was expected

    >>> read_value("locations", "cytosol, Golgi apparatus;Cytosol"), read_value("split", "Val"), read_value("well", "a1")
    ('Cytosol;Golgi apparatus', 'valid', 'a1')
    """
    text = text.strip()
    if text in MISSING:
        return None
    if column in _LISTS:
        names = (part.strip() for part in re.split("[;,]", text))
        spell = location_name if column == "locations" else str
        return ";".join(dict.fromkeys(spell(name) for name in names if name not in MISSING)) or None
    words = _WORDS.get(column)
    if words is None:
        return text
    if text.lower() not in words:
        raise ValueError(f"{column} is {text!r}; expected {', '.join(dict.fromkeys(words.values()))} or nothing")
    return words[text.lower()]
