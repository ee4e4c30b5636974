"""Keys that stand twice in one block of a YAML file: its readers keep the last and say nothing."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from subcell.errors import ConfigError


def check_keys_once(paths: Iterable[str | Path]) -> None:
    """Make sure that every key of YAML files stands once in its block.

    Raises
    ------
    ConfigError : one line for every key that stands twice; a file that is no YAML is left to whoever reads it
    """
    lines = []
    for path in paths:
        try:
            top = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (yaml.YAMLError, OSError, UnicodeDecodeError):
            continue
        lines += [f"{path}: {line}" for line in _twice(top, (), set())]
    if lines:
        raise ConfigError(
            "keys that stand twice in one block, of which YAML keeps the last alone; put what belongs together under one:\n"
            + "\n".join(f"  - {line}" for line in lines)
        )


def _twice(node: Any, where: tuple[str, ...], seen: set[int]) -> Iterator[str]:
    # An alias leads to a block that was looked at; one may even lead to itself.
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _twice(item, (*where, str(number)), seen)
    if isinstance(node, yaml.MappingNode):
        first: dict[tuple[str, str], Any] = {}
        for key, value in node.value:
            name = str(key.value)
            if isinstance(key, yaml.ScalarNode):
                before = first.setdefault((key.tag, key.value), key)
                if before is not key:
                    lines = f"lines {before.start_mark.line + 1} and {key.start_mark.line + 1}"
                    yield f"`{'.'.join((*where, name))}` in {lines}"
            yield from _twice(value, (*where, name), seen)
