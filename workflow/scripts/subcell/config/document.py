"""Write config/README.md and the JSON schema from the typed model: `make docs`."""

import json
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from subcell.config.datasets import (
    Camera,
    Download,
    Effects,
    Embeddings,
    Hpa,
    Images,
    MakeSheet,
    Simulate,
    Split,
    SubcellCrops,
)
from subcell.config.map import Enrichment, Filters, GeneSetFile, InteractionFile, Ladder, Map, ReferenceFile
from subcell.config.model import Config
from subcell.config.sections import (
    Attention,
    Bestfitting,
    CheckReleased,
    Crate,
    Crops,
    Dino4Cells,
    FineTune,
    Handcrafted,
    Imported,
    Neighbors,
    RandomVit,
    Scoring,
    Segmentation,
    Shortcuts,
    Subcell,
    Timm,
    TrainCompact,
    Weights,
)
from subcell.config.training import Objective, Training

ROOT = Path(__file__).parents[4]
BLOCKS: dict[str, type[BaseModel]] = {
    "Top level": Config,
    "datasets.NAME with `source: simulate`": Simulate,
    "datasets.NAME.effects": Effects,
    "datasets.NAME with `source: images`": Images,
    "datasets.NAME with `source: embeddings`": Embeddings,
    "datasets.NAME with `source: hpa`": Hpa,
    "datasets.NAME with `source: subcell_crops`": SubcellCrops,
    "datasets.NAME.split": Split,
    "datasets.NAME.camera": Camera,
    "download": Download,
    "segmentation": Segmentation,
    "crops": Crops,
    "models.NAME with `kind: subcell`": Subcell,
    "models.NAME.objective": Objective,
    "models.NAME.training": Training,
    "models.NAME with `kind: random_vit`": RandomVit,
    "models.NAME with `kind: dino4cells`": Dino4Cells,
    "models.NAME with `kind: bestfitting`": Bestfitting,
    "models.NAME with `kind: timm`": Timm,
    "models.NAME with `kind: handcrafted`": Handcrafted,
    "models.NAME with `kind: shortcuts`": Shortcuts,
    "models.NAME with `kind: imported`": Imported,
    "weights": Weights,
    "attention": Attention,
    "map": Map,
    "map.filters": Filters,
    "map.ladder": Ladder,
    "map.enrichment": Enrichment,
    "map.gene_sets[]": GeneSetFile,
    "map.interactions[]": InteractionFile,
    "map.downloads.FILE": ReferenceFile,
    "neighbors": Neighbors,
    "scoring": Scoring,
    "make_sheet": MakeSheet,
    "fine_tune": FineTune,
    "train_compact": TrainCompact,
    "check_released": CheckReleased,
    "crate": Crate,
}
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
    for title, block in BLOCKS.items():
        doc = (block.__doc__ or "").strip()
        parts.append(f"## {title}\n\n{doc}\n\n| key | type | default | meaning |\n|---|---|---|---|")
        parts.extend(_row(name, field) for name, field in block.model_fields.items())
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def schema() -> str:
    """The JSON schema of a configuration file."""
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


OUTPUTS = {"config/README.md": readme, "workflow/schemas/config.schema.json": schema}


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
