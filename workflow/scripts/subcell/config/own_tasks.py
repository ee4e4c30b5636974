"""Settings of a user's own benchmarks against what its file takes; read, not loaded, whenever the workflow is parsed."""

import ast
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TAKERS = ("run", "perfect_features")
"""Functions of a benchmark that get settings as keywords; see `subcell.benchmarks.statistics.result`."""

GIVEN = ("out_json", "out_parquet", "dataset", "model", "simulated", "split_by", "device")
"""Keywords that every benchmark gets from the workflow; no settings."""


def unknown_settings(own_tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each setting that no function of its benchmark's file takes, with the likely name.

    A file that is not there, or is no Python, is left to the job that loads it.
    """
    lines = []
    for name, task in own_tasks.items():
        try:
            body = ast.parse(Path(task["file"]).read_bytes()).body
        except (OSError, SyntaxError, ValueError):
            continue
        functions = [node for node in body if isinstance(node, ast.FunctionDef) and node.name in TAKERS]
        if not any(function.name == "run" for function in functions) or any(map(_reads_all, functions)):
            continue
        known = [
            argument.arg
            for function in functions
            for argument in [*function.args.args[1:], *function.args.kwonlyargs]
            if argument.arg not in GIVEN
        ]
        for key in task["settings"]:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"did you mean `{close[0]}`?" if close else f"it takes: {', '.join(known)}"
                lines.append(f"own_tasks.{name}.settings.{key}: `run` in {task['file']} takes no such setting; {hint}")
    return lines


def _reads_all(function: ast.FunctionDef) -> bool:
    """Whether a function reads its `**keywords`, and so may take any."""
    rest = function.args.kwarg
    return rest is not None and any(isinstance(node, ast.Name) and node.id == rest.arg for node in ast.walk(function))
