"""Hashes of files."""

import hashlib
from pathlib import Path


def sha256_of(path: str | Path) -> str:
    """Hash of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
