"""Write config/README.md and the JSON schema from the typed model: `make docs`."""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from subcell.config.model import Config

ROOT = Path(__file__).parents[4]
HEAD = """# Configuration

Written by `make docs` from `workflow/scripts/subcell/config`; change it there.

`config.yaml` is the demo. `--configfile FILE` replaces it: `images.yaml` runs your own images, `test.yaml` is the demo
at its smallest, `ablation.yaml` trains all of the paper's variants, three times each, `beyond.yaml` what is not the
paper's, five times each.
`full.yaml` is laid over the demo (`--configfile config.yaml config/full.yaml`) and scores every model on everything.
Unknown keys, wrong types and values out of range are
reported together before anything runs.
"""


def readme() -> str:
    """The text of config/README.md."""
    parts = [HEAD]
    for title, block in blocks().items():
        doc = (block.__doc__ or "").strip()
        parts.append(f"## {title}\n\n{doc}\n\n| key | type | default | meaning |\n|---|---|---|---|")
        parts.extend(_row(name, field) for name, field in block.model_fields.items())
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def blocks() -> dict[str, type[BaseModel]]:
    """Title -> every block that a configuration can have, from the model itself."""
    return {"Top level": Config, **_blocks_below(Config, "")}


def schema() -> str:
    """The JSON schema of a configuration file."""
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


OUTPUTS = {"config/README.md": readme, "workflow/schemas/config.schema.json": schema}


def _blocks_below(block: type[BaseModel], path: str) -> dict[str, type[BaseModel]]:
    titles: dict[str, type[BaseModel]] = {}
    for name, field in block.model_fields.items():
        for where, inner in _blocks_of(field.annotation, path + name, field.discriminator):
            titles[where] = inner
            titles |= _blocks_below(inner, where.split(" with ")[0] + ".")
    return titles


def _blocks_of(annotation: Any, path: str, tag: Any = None) -> Iterator[tuple[str, type[BaseModel]]]:
    """(title, block) of each block that a key may hold; the members of a union are told apart by their tag."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        tags = [item.discriminator for item in arguments[1:] if isinstance(item, FieldInfo)]
        yield from _blocks_of(arguments[0], path, next(filter(None, tags), tag))
    elif origin in (Union, types.UnionType):
        for member in arguments:
            yield from _blocks_of(member, path, tag)
    elif origin is list:
        yield from _blocks_of(arguments[0], f"{path}[]")
    elif origin is dict:
        yield from _blocks_of(arguments[1], f"{path}.NAME")
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        values = get_args(annotation.model_fields[tag].annotation) if tag else ()
        yield (f"{path} with `{tag}: {values[0]}`" if values else path), annotation


def _row(name: str, field: FieldInfo) -> str:
    bounds = _bounds(field.metadata)
    kind = _kind(field.annotation) + (f", {bounds}" if bounds else "")
    if field.is_required():
        default = "required"
    elif isinstance(field.default, BaseModel):
        default = "see below"
    elif field.default is PydanticUndefined:
        default = "{}"
    else:
        default = f"`{json.dumps(field.default)}`"
    cells = (f"`{name}`", kind, default, field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = _bounds(arguments[1:])
        return _kind(arguments[0]) + (f" ({bounds})" if bounds else "")
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join("absent" if a is type(None) else _kind(a) for a in arguments)
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if origin is tuple:
        return "pair of integers" if set(arguments) == {int} else "pair of numbers"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "block"
    names = {bool: "true or false", int: "integer", float: "number", str: "text"}
    return names.get(annotation, str(annotation))


def _bounds(metadata: Any) -> str:
    words = []
    for item in metadata:
        match item:
            case annotated_types.Gt():
                words.append(f"above {item.gt}")
            case annotated_types.Ge():
                words.append(f"at least {item.ge}")
            case annotated_types.Le():
                words.append(f"at most {item.le}")
    return ", ".join(words)


def main() -> None:
    """Write the generated files into the project."""
    for path, text in OUTPUTS.items():
        (ROOT / path).write_text(text(), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
