"""Files and folders that get their name when they are whole."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path to write to; what lies there gets its name when the `with` block ends without an error.

    Until then it is hidden beside its place, with the same ending. An error removes it, and what a killed process left is
    removed by the next that writes the same.

    Parameters
    ----------
    path : file or folder to write; its folder is made, and what lies there is replaced

    Yields
    ------
    path that does not exist; the block writes a file there, or makes a folder
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial.{path.name}")
    _remove(partial)
    try:
        yield partial
        if partial.is_dir():
            _remove(path)
        partial.replace(path)
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
