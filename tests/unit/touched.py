"""Unit tests that a change touches, by what they import: `make test-fast`.

Usage: PYTHONPATH=workflow/scripts python tests/unit/touched.py [SINCE]

Prints the test files behind which a file lies that differs from the commit SINCE (HEAD) or is new. Of a file that nothing
imports (a rule, a page, a table, a document) those tests that name it, or its folder.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from subcell.config.code import code_behind

TESTS = Path(__file__).parent
ROOT = TESTS.parents[1]


def touched(changed: Iterable[str]) -> list[Path]:
    """Test files that a change of files (paths in the project) touches."""
    tests = {path: set(code_behind(*with_examples(path))) for path in sorted(TESTS.glob("test_*.py"))}
    chosen = set()
    for name in changed:
        path = ROOT / name
        if (name.endswith(".py") and path.is_relative_to(TESTS)) or path.is_relative_to(
            ROOT / "workflow/scripts/subcell"
        ):
            chosen |= {test for test, files in tests.items() if path in files}
        else:
            words = (path.name, f'"{path.parent.name}"', f"{path.parent.name}/")
            chosen |= {test for test in tests if any(word in test.read_text(encoding="utf-8") for word in words)}
    return sorted(chosen)


def with_examples(test: Path) -> Iterator[Path]:
    """A test file and the files beside it that it imports."""
    waiting, reached = [test], set()
    while waiting:
        path = waiting.pop()
        if path in reached or not path.is_file():
            continue
        reached.add(path)
        yield path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            waiting += [TESTS / f"{name}.py" for name in names]


def changed_since(commit: str) -> list[str]:
    """Files that differ from a commit, and new ones that git does not ignore."""
    listings = (("diff", "--name-only", commit), ("ls-files", "--others", "--exclude-standard"))
    done = [subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True) for words in listings]
    return [name for one in done for name in one.stdout.splitlines()]


if __name__ == "__main__":
    print(*(path.relative_to(ROOT) for path in touched(changed_since((sys.argv[1:] or ["HEAD"])[0]))))
