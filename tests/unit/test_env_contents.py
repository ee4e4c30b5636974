"""Each rule's environment holds what its script imports, directly or through the library, and needs nothing of Snakemake's."""

import ast
import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from subcell.config.suite import SUITE, module_of

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow/scripts"
IN_EVERY_JOB = {"snakemake"}
"""The object `snakemake` comes from there; `isolation` names it."""


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def rules():
    """(script, environment) of every rule."""
    found = set()
    for file in (ROOT / "workflow/rules").glob("*.smk"):
        blocks = re.split(r"^\s*(?:use )?rule\b", file.read_text(), flags=re.MULTILINE)
        for block in blocks:
            env, script = (re.search(rf'{key}:\s+"([^"]+)"', block) for key in ("conda", "script"))
            if env and script:
                found.add((Path(script[1]).name, Path(env[1]).name))
    return sorted(found)


def at_import(node):
    """Everything in a tree that runs when it is imported, which the bodies of functions do not."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from at_import(child)


def modules_of(path):
    """Absolute names of what a file imports; a function imports what only some environments have."""
    names = set()
    for node in at_import(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            # `module_of(name)`: any benchmark
            assert ast.unparse(node.args[0]).startswith("module_of(")
            names |= {module_of(benchmark) for benchmark in SUITE}
    return names


def files_of(name):
    """Files of one of our modules, those of the packages that it lies in included."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        base = SCRIPTS.joinpath(*parts[:end])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                yield path


def imported(script):
    """Distributions that a script imports, through all of our own modules."""
    todo, seen, outside = [SCRIPTS / script], set(), set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in modules_of(path):
            own = list(files_of(name))
            todo += own
            top = name.split(".")[0]
            if not own and top not in sys.stdlib_module_names:
                outside.add(top)
    return outside


@cache
def requirements(name):
    try:
        return [Requirement(line) for line in distribution(name).requires or []]
    except PackageNotFoundError:
        return []


def closure(env):
    """Distributions that an environment gets: its pins and all that they need."""
    todo = [
        normal(pin.partition("==")[0])
        for pin in yaml.safe_load((ROOT / "envs" / env).read_text())["dependencies"][-1]["pip"]
    ]
    found = set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [normal(r.name) for r in requirements(name) if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def test_there_are_rules():
    assert len(rules()) >= 10


@pytest.mark.parametrize(("script", "env"), rules(), ids=lambda value: value.split(".")[0])
def test_environment_holds_what_the_script_imports(script, env):
    providers = packages_distributions()
    held = closure(env)
    lacking = sorted(
        module
        for module in imported(script) - IN_EVERY_JOB
        if not any(normal(name) in held for name in providers.get(module, [module]))
    )
    assert lacking == [], f"{script} imports {', '.join(lacking)}, which {env} does not hold"
