"""Sections of the configuration that say where fields of view come from."""

from typing import Annotated, Literal

from pydantic import Field

from subcell.config.sections import Channel, Name, Section


class Split(Section):
    """Which part of a dataset trains, which chooses and which tests. A `split` given by the source is kept."""

    by: Literal["gene", "antibody", "paper", "none"] = Field(
        "gene",
        description="`gene`: no gene on two sides; `antibody`; `paper`: the published antibody lists (they share genes); `none`",
    )
    train: float = Field(0.60, ge=0, le=1, description="share of genes or antibodies")
    valid: float = Field(0.15, ge=0, le=1, description="share of genes or antibodies; the rest tests")
    seed: int = Field(0, ge=0, description="another seed, another split")
    lists: str | None = Field(
        None, description="`paper` only: folder with {train,valid,test}_antibodies.txt, one antibody a line"
    )


class Dataset(Section):
    """What every source has."""

    shards: int = Field(1, ge=1, le=2000, description="parts that are worked on side by side; about fields / 256")
    split: Split = Field(Split(), description="training, validation and test part")


class Simulate(Dataset):
    """Simulated fields with full truth: a test of the plumbing that needs no download."""

    source: Literal["simulate"]
    seed: int = Field(1, ge=0, description="seed of everything simulated")
    genes: int = Field(72, ge=6, le=20_000, description="genes")
    cell_lines: int = Field(8, ge=2, le=40, description="cell lines, one a plate")
    fields_per_well: int = Field(2, ge=1, le=100, description="fields a well")
    cells_per_field: tuple[int, int] = Field((6, 13), description="fewest and most cells a field")
    field_px: int = Field(384, ge=64, le=4096, description="side of a field, pixels")
    pixel_size_um: float = Field(0.32, gt=0.02, le=2, description="micrometres a pixel")
    microscope: Literal["confocal", "widefield"] = Field(
        "confocal", description="`widefield` blurs and has a camera offset"
    )
    missing_channels: list[Literal["microtubules", "er"]] = Field([], description="stains that this dataset lacks")


class Images(Dataset):
    """Your own images: a sheet with one row a field."""

    source: Literal["images"]
    sheet: str = Field(description="csv or tsv; `snakemake --cores 1 make_sheet` builds one from a folder")
    columns: dict[str, str] = Field({}, description="our column name: the sheet's column name")
    channel_map: dict[Channel, str] = Field(
        default={},
        description="channel: the sheet's column of another stain that stands in for it, e.g. `microtubules: actin`; every "
        "output says so",
    )
    file_pattern: str | None = Field(
        None, description="where the sheet has no paths: e.g. `{field_id}_{color}.png`, relative to the sheet"
    )
    defaults: dict[str, str | float | int] = Field({}, description="column: value for every row that has none")
    allow_outside: bool = Field(False, description="allow paths that leave the sheet's folder")


class Embeddings(Dataset):
    """Vectors of cells from elsewhere: they enter at the map, the benchmarks and the report, without images or training."""

    source: Literal["embeddings"]
    file: str = Field(description="an h5ad file, a row a cell")
    model: Name = Field("imported", description="name of the model that made the vectors")
    columns: dict[str, str] = Field(
        {},
        description="our column name: the file's; the names of SubCell's released table (if_plate_id, atlas_name, gene_names, "
        "...) are known",
    )
    layer: str | None = Field(None, description="take this layer, or `obsm/NAME`, instead of X")
    defaults: dict[str, str] = Field({}, description="column: value for every row that has none")


class MakeSheet(Section):
    """What the target `make_sheet` looks for."""

    folder: str = Field("images", description="folder that holds the images")
    pattern: str = Field(
        "{field_id}_{color}.png",
        description="file name with column names in braces; `{color}` is blue, red, yellow or green, `{channel}` is nucleus, "
        "microtubules, er or protein",
    )
    output: str = Field("images/fields.csv", description="the sheet to write; an existing one is not overwritten")
    pixel_size_um: Annotated[float, Field(gt=0, le=10)] | None = Field(
        None, description="micrometres a pixel, where the files do not say"
    )


AnyDataset = Annotated[Simulate | Images | Embeddings, Field(discriminator="source")]
