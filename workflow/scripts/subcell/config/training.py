"""Sections of the configuration that describe how a SubCell model is trained."""

from typing import Any, Literal

from pydantic import Field

from subcell.config.base import Channel, Section

Recipe = Literal[
    "mae",
    "mae-cells",
    "mae-cells-prots",
    "mae-cells-prots-pool",
    "vit-cells",
    "vit-prots",
    "vit-prots-pool",
    "vit-cells-prots",
    "vit-cells-prots-pool",
    "vit-supervised",
]
Scaling = Literal["minmax", "channel", "percentile"]
RELEASED_RECIPES = ("mae-cells-prots-pool", "vit-prots-pool")
"""Networks of these were published."""


class Objective(Section):
    """Changes to a recipe; what is absent is as the recipe has it. docs/training.md lists the recipes."""

    reconstruction: float | None = Field(None, ge=0, le=1000, description="weight of the reconstruction loss (MAE: 1)")
    cell_specific: float | None = Field(None, ge=0, le=1000, description="weight of the cell-specific loss (1)")
    protein_specific: float | None = Field(
        None, ge=0, le=1000, description="weight of the protein-specific loss (MAE: 0.1, ViT: 1)"
    )
    temperature: float | None = Field(None, gt=0, le=10, description="of both contrastive losses (0.1)")
    pooling: bool | None = Field(
        None, description="gated attention instead of the mean of tokens (recipes with `-pool`)"
    )
    mask_ratio: float | None = Field(
        None, ge=0, lt=1, description="share of patches of view 1 that are hidden (0.25; `mae` 0.5)"
    )
    object_mask_ratio: float | None = Field(
        None, ge=0, le=1, description="at least this share of the patches on the cell is hidden; 0 looks at all patches alike "
        "(0; `mae` 0.5)",
    )  # fmt: skip
    masked_cells: float | None = Field(
        None, ge=0, le=1, description="share of an item's cells that lose their surroundings in each view (0.5)"
    )
    scaling: Scaling | None = Field(
        None,
        description="pixels of a cell to 0..1 by the lowest and highest value of all channels together (`minmax`, the paper's), "
        "by those of each channel (`channel`), or by the 0.1 and 99.9 percentiles of all channels, cut there (`percentile`); "
        "the model is then always used so",
    )
    channels: list[Channel] | None = Field(
        None,
        min_length=1,
        description="stains that the network sees, the protein among them (all four; the paper's other three networks lack "
        "ER, microtubules, or both); fields that lack others are embedded too",
    )
    drop_landmarks: float | None = Field(
        None, ge=0, lt=1, description="probability with which a channel other than the protein is zero in all views of a "
        "cell (0, beyond the paper)",
    )  # fmt: skip


class Training(Section):
    """How a SubCell model is trained. `preset: paper` sets every key that is not given to the paper's value."""

    preset: Literal["paper"] | None = Field(
        None,
        exclude=True,
        description="`paper`: 112 (MAE) or 128 (ViT) items a batch, gradients cut together, the weights of the best validation "
        "`macro_ap`, and the paper's value of every other key",
    )
    epochs: int = Field(300, ge=1, le=100_000, description="passes over the antibodies (paper: 300)")
    items_per_batch: int = Field(
        112, ge=2, le=65_536, description="antibody samples in a batch (paper: MAE 112, ViT 128)"
    )
    cells_per_item: int = Field(8, ge=1, le=4096, description="cells of one antibody sample (paper: 8)")
    items_per_antibody: int = Field(
        4, ge=1, le=1024, description="samples that an antibody gives in an epoch (paper: 4)"
    )
    learning_rate: float = Field(
        1e-4, gt=0, le=1, description="for 256 cells a batch; scaled linearly with the batch (paper: 1e-4)"
    )
    warmup_epochs: float = Field(5, ge=0, description="epochs of linear warm-up (paper: 5)")
    validate_every: int = Field(10, ge=1, description="epochs between validations (paper: 10)")
    positives: Literal["antibody", "gene", "locations", "compound", "none"] = Field(
        "antibody", description="cells with the same value are positives of the protein-specific loss (paper: antibody)"
    )
    spare: Literal["none", "gene", "locations"] = Field(
        "none",
        description="cells with the same value that are no positives are no negatives of the protein-specific loss either "
        "(paper: none)",
    )
    clip: Literal["apart", "together"] = Field(
        "apart",
        description="cut the norm of all gradients at 1 `together` (paper), or those of the classifier that only watches "
        "`apart`, so that labels do not touch the encoder",
    )
    select: Literal["last", "macro_ap", "label_ranking_ap", "retrieval", "embedding_rank"] = Field(
        "last",
        description="weights that are kept: the last ones, or those of the best validation by this metric (paper: macro_ap); "
        "`retrieval` (same antibody in another well) and `embedding_rank` need no labels",
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of a running mean of the encoder's weights, which is kept instead; 0: none (paper)",
    )
    precision: Literal["32", "bf16"] = Field("32", description="`bf16` = autocast to bfloat16 (paper: 32)")
    cells_per_pass: int | None = Field(
        None,
        ge=1,
        description="cells that a device takes through the network at once; the batch is still compared as a whole (cached "
        "gradients), at the cost of one more forward pass. Absent: all",
    )
    checkpoint_activations: bool = Field(
        False, description="compute activations again in the backward pass instead of keeping them: a third more time"
    )
    compile: bool = Field(False, description="compile the network first (torch.compile)")
    workers: int | None = Field(
        None,
        ge=0,
        le=256,
        description="processes that read crops ahead; absent: none beside a CPU, up to 8 beside a GPU",
    )
    checkpoints: int = Field(
        3, ge=0, le=1000, description="encoders of the last validations that stay in results/.state/MODEL"
    )
    tensorboard: bool = Field(True, description="also write curves for TensorBoard, into logs/models/MODEL/tensorboard")


PAPER: dict[str, Any] = {
    "epochs": 300,
    "cells_per_item": 8,
    "items_per_antibody": 4,
    "learning_rate": 1e-4,
    "warmup_epochs": 5,
    "validate_every": 10,
    "positives": "antibody",
    "spare": "none",
    "clip": "together",
    "select": "macro_ap",
    "ema": 0.0,
    "precision": "32",
}
PAPER_ITEMS = {"mae": 112, "vit": 128}
"""Items a batch by the recipe's first part."""


def with_preset(training: Any, recipe: Any) -> Any:
    """The block `training` with what its preset sets, where it has one; what is given stays."""
    if not isinstance(training, dict) or training.get("preset") != "paper":
        return training
    items = PAPER_ITEMS["vit" if str(recipe).startswith("vit") else "mae"]
    return {**PAPER, "items_per_batch": items, **training}
