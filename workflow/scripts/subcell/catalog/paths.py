"""Paths in a sheet: inside its folder unless allowed, or on the web."""

import os
import re
import stat
from pathlib import Path

from subcell.catalog.planes import parse_plane, split_plane
from subcell.errors import ImageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class PathProblem(Exception):
    """Why a path of a sheet may not be used."""


def is_url(path: str) -> bool:
    """Whether `path` is an http or https address."""
    scheme = _SCHEME.match(path)
    return scheme is not None and scheme[1].lower() in ("http", "https")


class SheetFolder:
    """The folder that the relative paths of a sheet start from.

    Parameters
    ----------
    folder : the sheet's folder
    allow_outside : accept paths that lead out of it
    """

    def __init__(self, folder: str | Path, *, allow_outside: bool = False) -> None:
        self.folder = os.path.realpath(folder)
        self._inside = os.path.join(self.folder, "")
        self.allow_outside = allow_outside
        self._real_folders: dict[str, str] = {}

    def find(self, text: str) -> str | None:
        """Resolve one path, which may end in a plane.

        Returns
        -------
        absolute path without links, or the address, each with its plane; None where there is no such file

        Raises
        ------
        PathProblem : an address that is not http(s), a path that leaves the folder, a plane that is not understood
        """
        file, plane = split_plane(text)
        if plane:
            try:
                parse_plane(plane)
            except ImageError as error:
                raise PathProblem(str(error)) from error
        scheme = _SCHEME.match(file)
        if scheme:
            if not is_url(file):
                raise PathProblem(f"{text!r}: only files, http and https can be read, not {scheme[1]}")
            return text
        if not file or "\0" in file:
            raise PathProblem(f"{text!r} is not a path")
        real, is_file = self._resolve(file if file.startswith("/") else f"{self.folder}/{file}")
        if not self.allow_outside and not f"{real}/".startswith(self._inside):
            raise PathProblem(f"{text!r} leads out of the sheet's folder; allow_outside: true permits that")
        if not is_file:
            return None
        return f"{real}#{plane}" if plane else real

    def _resolve(self, path: str) -> tuple[str, bool]:
        """Path without links and '..', and whether a file is there."""
        # The folder's links are resolved once, not for each of its thousands of files.
        parent, _, name = path.rpartition("/")
        if parent not in self._real_folders:
            self._real_folders[parent] = os.path.realpath(parent or "/")
        real = f"{self._real_folders[parent].rstrip('/')}/{name}"
        try:
            mode = os.lstat(real).st_mode
        except OSError:
            mode = 0
        if name in ("", ".", "..") or stat.S_ISLNK(mode):
            real = os.path.realpath(real)
            return real, os.path.isfile(real)
        return real, stat.S_ISREG(mode)
