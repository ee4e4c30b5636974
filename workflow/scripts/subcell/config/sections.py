"""Sections of the configuration that describe how a dataset becomes cells, vectors, a map and scores."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from subcell.config.base import Channel, Section
from subcell.config.training import Objective, Recipe, Scaling, Training, with_preset

LONGEST_NAME = 60
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=LONGEST_NAME)]
"""Names become folders: letters, digits, `_` and `-`."""

Size = Literal["tiny", "small", "base"]
Released = Literal["auto", "all_channels", "MT-DNA-Protein", "ER-DNA-Protein", "DNA-Protein"]


class Segmentation(Section):
    """How nuclei and cells are found."""

    model: str = Field(
        "compact",
        description="`compact` (ships with the workflow, runs on a CPU), `cpsam_v2` (Cellpose-SAM, downloads on first use), "
        "`fine_tuned` (what the target `fine_tune` makes; the run makes it first), or a path: `.safetensors` of compact "
        "networks, else a Cellpose model",
    )
    working_um_per_px: float = Field(
        0.32,
        gt=0.02,
        le=2,
        description="pixel size at which the network and the mask dynamics run, micrometres a pixel",
    )
    flow_threshold: float = Field(
        0.4,
        ge=0,
        le=5,
        description="Cellpose's flow check: masks whose flow error is larger are dropped; 0 turns it off",
    )
    cellprob_threshold: float = Field(0.0, ge=-6, le=6, description="Cellpose's probability threshold, a logit")
    min_nucleus_um2: float = Field(16.0, ge=0, description="smaller nuclei are dropped, square micrometres (HPA: 16)")
    min_cell_um2: float = Field(35.0, ge=0, description="smaller cells are dropped, square micrometres (HPA: 35)")

    cell_body: Literal["network", "watershed"] = Field(
        "network",
        description="what outlines cells: the network, or a watershed from the nuclei on microtubules and ER; without either "
        "stain a cell is its nucleus and a rim (`cell_body` in the tables says so)",
    )
    same_cell_um: float = Field(
        2.0,
        ge=0,
        le=50,
        description="nuclei that share a cell body and are no further apart count as nuclei of one cell, micrometres; 0 "
        "makes each nucleus a cell",
    )
    compare_with: str | None = Field(
        None,
        description="a second `model`; the agreement of both is noted for each field (`agreement_f1`), at twice the time",
    )


class FineTune(Section):
    """How the target `fine_tune` adapts a segmentation model to your own labelled fields."""

    sheet: str | None = Field(
        None,
        description="csv: `field_id`, `pixel_size_um`, paths `microtubules`, `er`, `nucleus`, and label images "
        "`reference_nuclei`, `reference_cells` (either suffices), relative to the sheet",
    )
    model: str = Field("compact", description="where it starts: `compact`, `cpsam_v2`, or a path")
    held_out: float = Field(0.2, gt=0, lt=1, description="share of fields that are kept for the score")
    steps: int = Field(400, ge=1, le=1_000_000, description="training steps of a compact network; epochs of Cellpose's")
    learning_rate: float = Field(5e-4, gt=0, le=1, description="compact; Cellpose's models take a fiftieth of it")
    seed: int = Field(1, ge=0, description="seed of the held-out part and of training")


class TrainCompact(Section):
    """How the shipped segmentation network was trained; used by the target `train_compact` only."""

    labelled: str | None = Field(
        None, description="folder of labelled real nuclei: images.csv (image_id, split), <id>.png, <id>_nuclei.png"
    )
    steps: int = Field(2400, ge=1, le=1_000_000, description="training steps of each of the two networks")
    fields: int = Field(240, ge=8, le=100_000, description="simulated training fields")
    seed: int = Field(1, ge=0, description="seed of fields, weights and augmentation")


PRESETS: dict[str, dict[str, float | int]] = {
    "train": {"field_um": 71.76, "pixels": 448},
    "native": {"field_um": 51.26, "pixels": 640},
}
"""896 and 640 of HPA's pixels of 0.0800885 um: SubCell was trained at half the resolution at which it was evaluated."""


class Crops(Section):
    """How cells are cut out."""

    preset: Literal["train", "native"] | None = Field(
        None,
        exclude=True,
        description="SubCell's scales, instead of the next two: `train` 71.76 um on 448 px (0.16 um a pixel, as its training "
        "crops), `native` 51.26 um on 640 px (HPA's own pixels, as in the paper's evaluation)",
    )
    field_um: float = Field(51.2, gt=1, le=1000, description="side of the square around a cell, micrometres")
    pixels: int = Field(96, ge=16, le=2048, description="side of the stored crop, pixels")
    border_cells: Literal["keep", "drop"] = Field(
        "keep", description="cells cut by the edge of the field; kept ones are marked in `touches_border`"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("preset") not in PRESETS:
            return given
        preset = PRESETS[given["preset"]]
        if clash := [name for name in preset if given.get(name, preset[name]) != preset[name]]:
            problem = f"`preset: {given['preset']}` sets {' and '.join(clash)} already; leave out one or the other"
            raise PydanticCustomError("names", "{problem}", {"problem": f"crops: {problem}"})
        return given | preset


class EvaluatedModel(Section):
    """What every model has."""

    evaluate_on: list[Name] | None = Field(None, description="datasets that it embeds; all when absent")


class Network(EvaluatedModel):
    """How a network looks at cells, whatever the network."""

    masked: bool = Field(True, description="set everything outside the cell to zero first, as SubCell is trained")
    scaling: Scaling | None = Field(
        None,
        description="pixels of a cell to 0..1: `minmax` by the lowest and highest value of all channels together, as SubCell's "
        "released networks are trained; `channel` each channel by its own; `percentile` as `minmax` without the outermost "
        "thousandth. Absent: as the network was trained",
    )
    channel_map: dict[Channel, Channel] = Field(
        default={},
        description="channel of the network: stored channel that stands in for it; every output says so",
    )
    proteins: list[Channel] = Field(
        default=[], description="stored channels that take their turn as the protein; the vectors stand side by side"
    )
    allow_upsampling: bool = Field(
        False,
        description="embed fields whose pixels are more than four times those of the crops; above two times is warned of",
    )
    attention: bool = Field(
        False,
        description="keep maps of attention of every cell beside its vector, for the report's pages of proteins; "
        "the file of vectors is then about five times as large (`base` at 448 px)",
    )
    precision: Literal["auto", "32", "bf16"] = Field(
        "auto", description="`bf16` computes in bfloat16; `auto` does so on a GPU that can"
    )
    compile: bool = Field(False, description="compile the network first (torch.compile); for many cells on a GPU")


class SeveralSeeds(Network):
    """A network that can be had with several seeds, to see by how much they differ."""

    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = Field(
        None,
        description="instead of `seed`: one model each, called NAME_SEED, embedded, scored and mapped by itself. `map.models` "
        "and `attention.models` mean all of them by NAME, `scoring.reference` the first, and all where scores are compared over "
        "seeds (`seeds.tsv`)",
    )


class Subcell(SeveralSeeds):
    """A SubCell vision transformer: trained here, loaded from a checkpoint, or as released."""

    kind: Literal["subcell"]
    recipe: Recipe = Field("mae-cells-prots-pool", description="the paper's training objective, see docs/training.md")
    size: Size = Field("tiny", description="`base` is the paper's ViT-B/16")
    train_on: list[Name] = Field(default=[], description="datasets whose training split the model learns from")
    start: str | None = Field(
        None,
        description="with `train_on`: a checkpoint.safetensors of this workflow whose network is trained further; absent: random "
        "weights. Antibodies and genes that it has seen may not be held out",
    )
    checkpoint: str | None = Field(
        None, description="a checkpoint.safetensors of this workflow, or a .pth in the released format"
    )
    released: Released | None = Field(
        None,
        description="the released network for these channels, of the recipe; `auto` takes the one that fits what all "
        "fields of a dataset have. Fetched once",
    )
    classifiers: list[str] = Field(
        default=[],
        description="location classifiers on its vectors in the released format, a file a seed; released networks bring "
        "their ten",
    )
    seed: int = Field(42, ge=0, description="seed of weights, sampling and augmentation")
    objective: Objective = Field(Objective(), description="changes to the recipe")
    training: Training = Field(Training(), description="how it is trained")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "training" not in given:
            return given
        return {**given, "training": with_preset(given["training"], given.get("recipe"))}


class RandomVit(SeveralSeeds):
    """The same network, untrained: the floor that training has to beat."""

    kind: Literal["random_vit"]
    size: Size = Field("tiny", description="as for `subcell`")
    seed: int = Field(42, ge=0, description="seed of the weights")


class Dino4Cells(Network):
    """DINO4Cells: a vision transformer trained without labels on HPA's cells or fields."""

    kind: Literal["dino4cells"]
    checkpoint: str = Field(description="its released file; resources/weights.tsv says where it is described")


class Bestfitting(Network):
    """The supervised network of the Kaggle challenge's team `bestfitting`, which also says 19 locations."""

    kind: Literal["bestfitting"]
    checkpoint: str = Field(description="its published file; resources/weights.tsv says where it is described")


class Timm(Network):
    """Any network of the library timm."""

    kind: Literal["timm"]
    architecture: str = Field(description="timm's name, e.g. `vit_small_patch16_224` or `resnet50.a1_in1k`")
    pretrained: bool = Field(False, description="fetch timm's weights of that name")
    checkpoint: str | None = Field(None, description="weights under timm's names, safetensors or PyTorch")
    channels: Literal["repeat", "average", "each"] = Field(
        "repeat",
        description="`repeat` the first layer's weights over the four channels, `average` the channels to one grey image, or "
        "give `each` channel alone and put the vectors side by side",
    )
    image_px: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        None, description="side that crops are resized to, pixels; absent keeps them"
    )
    seed: int = Field(42, ge=0, description="seed of the weights where there are none")


class Handcrafted(EvaluatedModel):
    """Classical features of intensity, shape and texture."""

    kind: Literal["handcrafted"]


class Shortcuts(EvaluatedModel):
    """What must not suffice: cell count, areas, mean intensities, shape of the mask."""

    kind: Literal["shortcuts"]


class Imported(EvaluatedModel):
    """Vectors that came from elsewhere, of a dataset with `source: embeddings`, which adds this block by itself."""

    kind: Literal["imported"]


Model = Annotated[
    Subcell | RandomVit | Dino4Cells | Bestfitting | Timm | Handcrafted | Shortcuts | Imported,
    Field(discriminator="kind"),
]


class Neighbors(Section):
    """The most similar proteins or cells."""

    unit: Literal["gene", "antibody", "well", "compound", "field", "cell"] | None = Field(
        None, description="whose neighbours; the map's unit when absent"
    )
    most: int = Field(10, ge=1, le=1000, description="neighbours of each")


class Attention(Section):
    """Where networks look, measured on some cells of each dataset."""

    models: list[Name] | None = Field(
        None, description="networks that are looked at; those with trained or released weights when absent"
    )
    datasets: list[Name] | None = Field(None, description="datasets in which they are looked at; all when absent")
    cells: int = Field(128, ge=1, le=1_000_000, description="cells of a dataset, chosen by a hash of their id")
    shown: int = Field(6, ge=1, le=50, description="cells in the figure")
    scale_factors: list[Annotated[float, Field(ge=1, le=100)]] = Field(
        default=[],
        description="also measure what pixels that are so many times larger cost (target `scale_cost`), e.g. [1, 2, 4, 7.5]",
    )


class Weights(Section):
    """Released weights, fetched once."""

    folder: str | None = Field(
        None,
        description="folder with the files of resources/weights.tsv under their published names, instead of fetching",
    )
    mirror: str | None = Field(
        None,
        pattern=r"^https?://",
        description="address that stands in for https://czi-subcell-public.s3.amazonaws.com/models",
    )


class Crate(Section):
    """Who stands behind a run, for `ro-crate-metadata.json`; nothing else reads it."""

    author: str | None = Field(None, description="name of the person who ran it; without one nobody is named")
    orcid: str | None = Field(
        None, pattern=r"^https://orcid\.org/[0-9X-]{19}$", description="the person's address at ORCID"
    )
    organisation: str | None = Field(
        None, description="name of the institute of the person, which publishes the results"
    )
    organisation_url: str | None = Field(None, pattern=r"^https?://", description="address of the institute")


class CheckReleased(Section):
    """For the target `check_released`: released weights on published crops, against the released table of vectors."""

    table: str | None = Field(None, description="the released h5ad of vectors")
    crops: str = Field(
        "https://czi-subcell-public.s3.amazonaws.com/hpa-processed/cell_crops",
        description="address or folder of the published crops",
    )
    weights: str = Field(
        "all_channels_MAE-CellS-ProtS-Pool", description="name of the network in resources/weights.tsv"
    )
    cells: int = Field(16, ge=1, le=10_000, description="cells compared, chosen by a hash of their id")


class OwnTask(Section):
    """A benchmark of your own: a Python file with a function `run`."""

    file: str = Field(description="the file, see docs/benchmarks.md")
    settings: dict[str, Any] = Field({}, description="keywords of its `run`, beside those of `scoring`")


class TestSet(Section):
    """Another way to score localization on one dataset; `seen_antibodies` holds for `external` too."""

    train_on: Name | None = Field(
        None,
        description="dataset whose training cells train the classifiers; all labelled cells of this one test, but those of "
        "antibodies and genes that train them or a network that is scored here",
    )
    cell_labels: str | None = Field(
        None,
        description="csv of labels that people gave to single cells: `cell_id` (or `field_id` and `label`), `locations`; rows "
        "with Discarded or Unsure are left out",
    )
    seen_antibodies: list[str] = Field(
        [],
        description="files of antibodies, one a line, whose cells are left out, e.g. SubCell's own lists: what released "
        "weights were trained on is not known otherwise. Where they name no antibody of the dataset nothing is scored",
    )


class Scoring(Section):
    """Settings shared by the benchmarks."""

    head_seeds: int = Field(10, ge=1, le=100, description="classifiers trained on frozen embeddings (paper: 10)")
    head_batch_size: int = Field(
        8192, ge=2, le=1_000_000, description="cells a step of a classifier (paper: 8192); fewer for a small dataset"
    )
    bootstraps: int = Field(
        1000, ge=100, le=100_000, description="bootstrap resamples of antibodies behind an interval"
    )
    min_test_antibodies: int = Field(3, ge=1, description="a class with fewer held-out antibodies is not scored")
    reference: Name = Field("random_vit", description="the model that the others are compared with, in pairs")
    balance: Literal["none", "loss", "sampling"] = Field(
        "none", description="give rare classes more weight in the classifiers' loss, or draw their cells more often"
    )
    test_sets: dict[Name, TestSet] = Field(
        {},
        description="dataset: labels of single cells, classifiers that were trained on another dataset, antibodies that a "
        "network has seen",
    )
    informative: float = Field(
        0.8,
        gt=0,
        le=1,
        description="a benchmark is flagged `not informative` where shortcuts or the plate alone reach this share of the best "
        "model, above chance",
    )
    controls: bool = Field(
        True, description="score random labels, random features and perfect features beside the models"
    )
    seed: int = Field(42, ge=0, description="seed of classifiers and bootstrap")
