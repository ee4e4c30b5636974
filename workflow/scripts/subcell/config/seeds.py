"""A model with several seeds: one model each, called NAME_SEED."""

from collections.abc import Iterable, Mapping
from typing import Any


def of_each_seed(name: str, seeds: Iterable[int] | None) -> dict[str, int]:
    """Names of the models that a block stands for, with their seeds; none where it has no `seeds`."""
    return {f"{name}_{seed}": seed for seed in seeds or ()}


def name_without_seed(name: str, seed: int | None) -> str:
    """What models that differ in their seed only are called together."""
    return name.removesuffix(f"_{seed}")


def with_models_of_each_seed(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Put one model a seed in the place of each model with `seeds`.

    Parameters
    ----------
    resolved : a complete configuration. `map.models` and `attention.models` may name a model with `seeds`, and mean all of
        its models; `scoring.reference` then means the first

    Returns
    -------
    a copy in which no model has `seeds`
    """
    together = {name: list(of_each_seed(name, model.get("seeds"))) for name, model in resolved["models"].items()}
    models: dict[str, Any] = {}
    for name, model in resolved["models"].items():
        settings = {key: value for key, value in model.items() if key != "seeds"}
        seeds = of_each_seed(name, model.get("seeds"))
        models |= {one: {**settings, "seed": seed} for one, seed in seeds.items()} or {name: settings}
    result = {**resolved, "models": models}
    for section in ("map", "attention"):
        named = resolved[section]["models"]
        if named is not None:
            each = [one for name in named for one in together.get(name) or [name]]
            result[section] = {**resolved[section], "models": list(dict.fromkeys(each))}
    first = (together.get(resolved["scoring"]["reference"]) or [resolved["scoring"]["reference"]])[0]
    result["scoring"] = {**resolved["scoring"], "reference": first}
    return result
