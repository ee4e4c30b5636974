"""Names in words: several in one cell of a table, and the plural of what is counted."""

from __future__ import annotations


def names_in(text: object) -> list[str]:
    """Split "A;B" into its names; a missing value gives none."""
    return [name.strip() for name in text.split(";") if name.strip()] if isinstance(text, str) else []


def plural(name: str) -> str:
    """ "antibodies", "genes", "cell lines"."""
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
