"""Sections of the configuration that describe how a dataset becomes cells, vectors, a map and scores."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]
"""Names become folders: letters, digits, `_` and `-`."""

Recipe = Literal["mae-cells-prots-pool", "vit-prots-pool"]
Size = Literal["tiny", "small", "base"]


class Section(BaseModel):
    """A block of the configuration: unknown keys are errors; numbers may be text, as `--config` gives them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Segmentation(Section):
    """How nuclei and cells are found."""

    model: str = Field(
        "compact",
        description="`compact` (ships with the workflow, runs on a CPU), `cpsam_v2` (Cellpose-SAM, downloads on first use) "
        "or the path of a Cellpose model",
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


class TrainCompact(Section):
    """How the shipped segmentation network was trained; used by the target `train_compact` only."""

    labelled: str | None = Field(
        None, description="folder of labelled real nuclei: images.csv (image_id, split), <id>.png, <id>_nuclei.png"
    )
    steps: int = Field(2400, ge=1, le=1_000_000, description="training steps of each of the two networks")
    fields: int = Field(240, ge=8, le=100_000, description="simulated training fields")
    seed: int = Field(1, ge=0, description="seed of fields, weights and augmentation")


class Crops(Section):
    """How cells are cut out."""

    field_um: float = Field(51.2, gt=1, le=1000, description="side of the square around a cell, micrometres")
    pixels: int = Field(96, ge=16, le=2048, description="side of the stored crop, pixels")
    border_cells: Literal["keep", "drop"] = Field(
        "keep", description="cells cut by the edge of the field; kept ones are marked in `touches_border`"
    )


class Training(Section):
    """How a SubCell model is trained. The paper's values: 300 epochs, 112 x 8 cells, 1e-4 a 256 cells, 5 epochs of warm-up."""

    epochs: int = Field(300, ge=1, le=100_000, description="passes over the antibodies")
    items_per_batch: int = Field(112, ge=2, le=65_536, description="antibody samples in a batch")
    cells_per_item: int = Field(8, ge=1, le=4096, description="cells of one antibody sample")
    items_per_antibody: int = Field(4, ge=1, le=1024, description="samples that an antibody gives in an epoch")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="for 256 cells a batch; scaled linearly with the batch")
    warmup_epochs: float = Field(5, ge=0, description="epochs of linear warm-up")
    validate_every: int = Field(10, ge=1, description="epochs between validations")
    positives: Literal["antibody", "gene", "compound", "none"] = Field(
        "antibody", description="cells with the same value are positives of the protein-specific loss"
    )
    precision: Literal["32", "bf16"] = Field("32", description="`bf16` = autocast to bfloat16")


class Subcell(Section):
    """A SubCell vision transformer, trained here or loaded from a checkpoint."""

    kind: Literal["subcell"]
    recipe: Recipe = Field("mae-cells-prots-pool", description="the paper's training objective")
    size: Size = Field("tiny", description="`base` is the paper's ViT-B/16")
    train_on: list[Name] = Field(default=[], description="datasets whose training split the model learns from")
    evaluate_on: list[Name] | None = Field(None, description="datasets that it embeds; all when absent")
    checkpoint: str | None = Field(None, description="a checkpoint.safetensors to load instead of training")
    seed: int = Field(42, ge=0, description="seed of weights, sampling and augmentation")
    training: Training = Field(Training(), description="how it is trained")


class RandomVit(Section):
    """The same network, untrained: the floor that training has to beat."""

    kind: Literal["random_vit"]
    size: Size = Field("tiny", description="as for `subcell`")
    evaluate_on: list[Name] | None = Field(None, description="datasets that it embeds; all when absent")
    seed: int = Field(42, ge=0, description="seed of the weights")


class Handcrafted(Section):
    """Classical features of intensity, shape and texture."""

    kind: Literal["handcrafted"]
    evaluate_on: list[Name] | None = Field(None, description="datasets that it embeds; all when absent")


class Shortcuts(Section):
    """What must not suffice: cell count, areas, mean intensities, shape of the mask."""

    kind: Literal["shortcuts"]
    evaluate_on: list[Name] | None = Field(None, description="datasets that it embeds; all when absent")


Model = Annotated[Subcell | RandomVit | Handcrafted | Shortcuts, Field(discriminator="kind")]


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
    seed: int = Field(42, ge=0, description="seed of classifiers and bootstrap")
