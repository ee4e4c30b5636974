"""Several names in one cell of a table: genes of an antibody, locations of a protein."""

from __future__ import annotations


def names_in(text: object) -> list[str]:
    """Split "A;B" into its names; a missing value gives none."""
    return [name.strip() for name in text.split(";") if name.strip()] if isinstance(text, str) else []
