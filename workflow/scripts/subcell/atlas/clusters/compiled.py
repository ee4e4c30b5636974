"""UMAP and its neighbour search, compiled once for a machine instead of once a process."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def load_umap() -> ModuleType:
    """Import umap-learn so that numba keeps what it compiles on disk, beside the package or in `NUMBA_CACHE_DIR`.

    umap-learn and pynndescent compile most of their functions anew in every process, the larger part of them while
    they are imported: about 14 s, against 2 s when they are read back. Results are the same.
    """
    import numba

    compile_function = numba.njit

    def compile_and_keep(*arguments: Any, **options: Any) -> Any:
        return compile_function(*arguments, **({"cache": True} | options))

    numba.njit = compile_and_keep
    try:
        return import_module("umap")
    except RuntimeError:  # numba finds no folder that it may write to
        numba.njit = compile_function
        for name in [name for name in sys.modules if name.split(".")[0] in ("umap", "pynndescent")]:
            del sys.modules[name]
        return import_module("umap")
    finally:
        numba.njit = compile_function
