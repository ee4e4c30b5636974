"""Turn a raw configuration into a complete one, or say everything that is wrong with it at once."""

import difflib
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from subcell.config.model import Config
from subcell.config.seeds import with_models_of_each_seed
from subcell.errors import ConfigError


def resolve(raw: dict[str, Any], *, source: str = "config") -> dict[str, Any]:
    """Check a configuration and fill in the defaults.

    Parameters
    ----------
    raw : what the YAML files and `--config` gave
    source : file names for the message

    Returns
    -------
    plain dictionaries and lists with every key present; a model with `seeds` is one model a seed

    Raises
    ------
    ConfigError : one line for every unknown key, wrong type or value out of range, with the likely key
    """
    try:
        return with_models_of_each_seed(Config.model_validate(raw).model_dump(mode="json"))
    except ValidationError as error:
        lines = sorted({line for e in error.errors() for line in _explain(raw, e)})
    problems = "problem" if len(lines) == 1 else "problems"
    raise ConfigError(f"{len(lines)} {problems} in {source}:\n" + "\n".join(f"  - {line}" for line in lines))


def _explain(raw: dict[str, Any], error: Any) -> list[str]:
    if error["type"] == "names":
        return str(error["msg"]).splitlines()
    path, siblings = _locate(raw, error["loc"])
    where = ".".join(map(str, path)) or "top level"
    value = error.get("input")
    match error["type"]:
        case "extra_forbidden":
            key = str(error["loc"][-1])
            close = difflib.get_close_matches(key, siblings, n=1, cutoff=0.5)
            hint = f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(sorted(siblings))}"
            return [f"{where}: unknown key; {hint}"]
        case "missing":
            return [f"{where}: is required and missing"]
        case "union_tag_invalid":
            tag = error["ctx"]["discriminator"].strip("'")
            allowed = error["ctx"]["expected_tags"]
            close = difflib.get_close_matches(str(error["ctx"]["tag"]), allowed.replace("'", "").split(", "), n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            return [f"{where}.{tag}: `{error['ctx']['tag']}` is not one of {allowed}{hint}"]
        case "union_tag_not_found":
            return [f"{where}: needs the key `{error['ctx']['discriminator'].strip(chr(39))}`"]
        case "literal_error":
            allowed = error["ctx"]["expected"]
            options = allowed.replace("'", "").replace(" or ", ", ").split(", ")
            close = difflib.get_close_matches(str(value), options, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            return [f"{where}: `{value}` is not one of {allowed}{hint}"]
        case "string_type" if isinstance(value, bool | int | float | date):
            kind = "yes or no" if isinstance(value, bool) else "a date" if isinstance(value, date) else "a number"
            what = "this key" if error["loc"][-1] == "[key]" else f"`{value}`"
            return [f"{where}: YAML takes {what} for {kind}, and text is expected; put it in quotes"]
        case _:
            return [f"{where}: {error['msg'][0].lower()}{error['msg'][1:]} (found {value!r})"]


def _locate(raw: dict[str, Any], loc: tuple[Any, ...]) -> tuple[list[Any], list[str]]:
    """Path of an error without the tags of unions, and the keys that are allowed in its block."""
    path: list[Any] = []
    block: Any = raw
    annotation: Any = Config
    for part in loc[:-1]:
        model = _choose(annotation, block, part)
        if model is not None and isinstance(block, dict) and part not in block:
            annotation = model  # a union's tag, which does not stand in the file
            continue
        path.append(part)
        block = block[part] if isinstance(block, dict | list) else None
        annotation = _descend(annotation, part)
    siblings = list(annotation.model_fields) if _is_model(annotation) else []
    if loc and not (isinstance(loc[-1], str) and loc[-1] == "[key]"):
        path.append(loc[-1])
    return path, siblings


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _descend(annotation: Any, part: Any) -> Any:
    if _is_model(annotation):
        field = annotation.model_fields.get(part)
        return field.annotation if field else None
    arguments = get_args(annotation)
    return arguments[-1] if arguments else None


def _choose(annotation: Any, block: Any, tag: Any) -> Any:
    """The member of a tagged union whose tag this is."""
    for member in _members(annotation):
        for field in member.model_fields.values():
            if tag in get_args(field.annotation) and isinstance(block, dict) and tag in block.values():
                return member
    return None


def _members(annotation: Any) -> list[Any]:
    if _is_model(annotation):
        return [annotation]
    return [member for argument in get_args(annotation) for member in _members(argument)]
