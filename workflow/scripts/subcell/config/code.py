"""Versions of the code behind each job: a change of a module reruns what it computes, and nothing else."""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parent.parent


@cache
def code_version(*files: str | Path) -> str:
    """A hash of files of code and of all that they import of the library, as they were when first asked for.

    Parameters
    ----------
    files : Python files; of the library, drivers, or a user's own

    Returns
    -------
    12 hexadecimal digits
    """
    digest = hashlib.sha256()
    for file in code_behind(*files):
        name = file.relative_to(LIBRARY).as_posix() if file.is_relative_to(LIBRARY) else file.name
        digest.update(name.encode() + b"\0" + _read(file).text + b"\0")
    return digest.hexdigest()[:12]


def code_behind(*files: str | Path) -> list[Path]:
    """These files and the modules of the library that they import, also through others; what only types need is no part.

    Raises
    ------
    FileNotFoundError : one of `files` is not there
    """
    waiting = [Path(file) for file in files]
    reached: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            waiting += [path for name in _read(file).imports for path in _files_of(name)]
    return sorted(reached)


def module_file(name: str) -> Path:
    """The file of a module of the library, e.g. of `subcell.crops.store`."""
    return LIBRARY.joinpath(*name.split(".")[1:]).with_suffix(".py")


@dataclass(frozen=True)
class _Source:
    text: bytes
    imports: frozenset[str]


@cache
def _read(file: Path) -> _Source:
    text = file.read_bytes()
    try:
        return _Source(text, frozenset(_imported(ast.parse(text).body)))
    except (SyntaxError, ValueError):
        return _Source(text, frozenset())  # a file of the user's, which its job will say


def _imported(nodes: list[ast.stmt] | list[ast.AST]) -> Iterator[str]:
    """Names that code imports of the library, wherever it does; `from a import b` may mean a module `a.b`."""
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from _imported(node.orelse)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("subcell."))
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and (node.module or "").split(".")[0] == "subcell":
                yield from (f"{node.module}.{name.name}" for name in node.names)
        else:
            yield from _imported(list(ast.iter_child_nodes(node)))


@cache
def _files_of(name: str) -> tuple[Path, ...]:
    """The module of a name and the packages around it, but for the library's own, which says its version alone."""
    parts = name.split(".")[1:]
    packages = [LIBRARY.joinpath(*parts[:end], "__init__.py") for end in range(1, len(parts) + 1)]
    modules = [LIBRARY.joinpath(*parts[:end]).with_suffix(".py") for end in (len(parts) - 1, len(parts)) if end]
    return tuple(path for path in (*packages, *modules) if path.is_file())
