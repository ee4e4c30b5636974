"""Versions of the code behind each stage: a change in the library reruns what it computes."""

import hashlib
from pathlib import Path

LIBRARY = Path(__file__).parent.parent


def code_version(*stages: str) -> str:
    """A hash of all modules in the named folders of the library.

    Parameters
    ----------
    stages : folders, e.g. "segmentation", or single modules, e.g. "catalog/released.py"

    Returns
    -------
    12 hexadecimal digits

    Raises
    ------
    FileNotFoundError : a folder has no module
    """
    digest = hashlib.sha256()
    for stage in stages:
        path = LIBRARY / stage
        modules = [path] if path.is_file() else sorted(path.rglob("*.py"))
        if not modules:
            raise FileNotFoundError(f"no modules in {LIBRARY / stage}")
        for module in modules:
            digest.update(module.relative_to(LIBRARY).as_posix().encode() + b"\0" + module.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def file_version(path: str) -> str:
    """A hash of one file of the user's code, as `code_version`; empty where there is none."""
    file = Path(path)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else ""
