"""Sections of the configuration that say where fields of view come from."""

from typing import Annotated, Literal

from pydantic import Field

from subcell.config.base import Channel, Section
from subcell.config.sections import Name


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


class Camera(Section):
    """Corrections before segmentation and cropping. None suits HPA's images, which are stretched for display."""

    offset: Literal["none", "auto"] | dict[Channel, float] = Field(
        "none",
        description="counts that the camera adds: `auto` takes the 0.1 percentile of each field and channel, unless the "
        "channel is display-stretched; or counts a channel. Masking writes zeros, so an offset would draw an edge",
    )
    shift_px: dict[Channel, tuple[float, float]] = Field(
        {}, description="channel: [down, right], pixels by which it lies off the others"
    )
    flat_field: bool = Field(
        False,
        description="even the illumination of each plate and channel, estimated by BaSiC from its fields; a plate with fewer "
        "than 16 stays as it is (`flat_field/plates.tsv` says which); needs `--sdm conda`",
    )


class Dataset(Section):
    """What every source has."""

    shards: int = Field(1, ge=1, le=2000, description="parts that are worked on side by side; about fields / 256")
    split: Split = Field(Split(), description="training, validation and test part")
    benchmarks: list[Name] | None = Field(None, description="what is scored on it; the run's `benchmarks` when absent")


class Effects(Section):
    """Planted effects of simulated data. With one switched off, what measures it is at chance."""

    sub_patterns: bool = Field(True, description="genes of one location differ in pattern")
    complexes: bool = Field(True, description="genes of a complex share a sub-pattern; off: they are random genes")
    discordant_antibodies: bool = Field(
        True, description="some antibodies show another protein than the other one of their gene"
    )
    wrong_labels: bool = Field(True, description="some training labels are wrong, incomplete or missing")
    expression: bool = Field(True, description="lines that express alike look alike")
    compounds: bool = Field(True, description="half the compounds change cells")
    plates: bool = Field(True, description="plates differ in brightness, blur and offset")
    positions: bool = Field(True, description="wells at the edge of a plate differ from others")
    odd_cells: bool = Field(True, description="mitotic, multinucleated, floating and out-of-focus cells")


class Simulate(Dataset):
    """Simulated fields with full truth: a test of the plumbing that needs no download."""

    source: Literal["simulate"]
    layout: Literal["hpa", "perturbation"] = Field(
        "hpa",
        description="`hpa`: antibodies over cell lines, one line a plate; `perturbation`: one stain, compounds over plates",
    )
    seed: int = Field(1, ge=0, description="seed of everything simulated; datasets of one seed image the same world")
    genes: int = Field(72, ge=6, le=20_000, description="genes of the world")
    imaged_genes: int | None = Field(
        None, ge=1, description="of these only the first so many are imaged; all when absent"
    )
    cell_lines: int = Field(8, ge=1, le=40, description="cell lines, one a plate")
    unseen_lines: int = Field(0, ge=0, le=8, description="lines among them that no dataset without this setting has")
    lines_per_antibody: int = Field(
        3, ge=1, le=40, description="most lines of an antibody; with 1, antibodies take turns over the lines"
    )
    fields_per_well: int = Field(2, ge=1, le=100, description="fields a well")
    cells_per_field: tuple[int, int] = Field(
        (7, 14), description="fewest and most cells a field; lines grow up to a third denser or sparser"
    )
    field_px: int = Field(448, ge=64, le=4096, description="side of a field, pixels")
    pixel_size_um: float = Field(0.32, gt=0.02, le=2, description="micrometres a pixel")
    microscope: Literal["confocal", "widefield"] = Field(
        "confocal", description="`widefield` blurs and has a camera offset"
    )
    missing_channels: list[Literal["microtubules", "er"]] = Field([], description="stains that this dataset lacks")
    compounds: int = Field(10, ge=0, le=96, description="`perturbation` only: compounds")
    doses: int = Field(2, ge=1, le=12, description="`perturbation` only: doses of a compound, tenfold apart")
    plates: int = Field(3, ge=1, le=100, description="`perturbation` only: plates, each with every compound and dose")
    negative_controls: int = Field(4, ge=0, le=96, description="`perturbation` only: untreated wells a plate")
    positive_controls: int = Field(1, ge=0, le=96, description="`perturbation` only: wells of a known compound a plate")
    effects: Effects = Field(Effects(), description="planted effects")
    camera: Camera = Field(Camera(), description="corrections of the images")


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
        None,
        description="files of the channels that the sheet has no column for, relative to it: e.g. `{field_id}_{color}.png`; one "
        "that does not exist is a channel that the field lacks",
    )
    defaults: dict[str, str | float | int] = Field({}, description="column: value for every row that has none")
    camera: Camera = Field(Camera(offset="auto"), description="corrections of the images")
    allow_outside: bool = Field(False, description="allow paths that leave the sheet's folder")


class Embeddings(Dataset):
    """Vectors of cells from elsewhere: they enter at the map, the benchmarks and the report, without images or training."""

    source: Literal["embeddings"]
    file: str | list[str] = Field(
        description="an h5ad file, a row a cell; of several, the vectors of a cell stand side by side, e.g. of the passes of "
        "datasets that differ in their protein"
    )
    model: Name = Field("imported", description="name of the model that made the vectors")
    columns: dict[str, str] = Field(
        {},
        description="our column name: the file's; without it our names are found in any case, and those of SubCell's released "
        "table (if_plate_id, atlas_name, gene_names, ...). Values are read as those of a sheet (`docs/images.md`)",
    )
    layer: str | None = Field(None, description="take this layer, or `obsm/NAME`, instead of X")
    defaults: dict[str, str] = Field({}, description="column: value for every row that has none")


class Selection(Dataset):
    """Which fields of a public collection are taken; an empty list takes all. Names may be spelt in any way."""

    cell_lines: list[str] = Field([], description="cell lines, e.g. [U-2 OS]")
    genes: list[str] = Field([], description="gene names; with up to 200 genes only their entries are fetched")
    ensembl_ids: list[str] = Field([], description="Ensembl ids of genes")
    antibodies: list[str] = Field([], description="antibodies, e.g. [HPA030741]")
    antibody_lists: list[str] = Field(
        [], description="`train`, `valid`, `test` (SubCell's published lists) or files with one antibody a line"
    )
    locations: list[str] = Field([], description="fields with any of these locations")
    fields_per_antibody: int | None = Field(
        None, ge=1, description="at most so many fields of one antibody, evenly over its cell lines"
    )


class Hpa(Selection):
    """Fields of the Human Protein Atlas, from its release files and image server."""

    source: Literal["hpa"]
    release: Literal["v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25"] = Field(
        "v23", description="release; SubCell was trained on v23"
    )
    reliability: list[Literal["enhanced", "supported", "approved", "uncertain"]] = Field(
        [], description="how sure the locations of the gene are, in HPA's words"
    )
    assays: list[str] = Field(
        ["human"], description="`human` is the usual staining; a release may hold `gfp`, `sirna` and `mouse` too"
    )
    channels: list[Channel] = Field(
        ["microtubules", "er", "nucleus", "protein"], min_length=1, description="stains to fetch"
    )
    pixel_size_um: float = Field(0.0800885, gt=0.01, le=2, description="micrometres a pixel")
    xml: str | None = Field(None, description="file or address to read instead of the release's proteinatlas.xml.gz")
    location_table: str | None = Field(
        None, description="file or address to read instead of the release's subcellular_location.tsv.zip"
    )
    image_address: str | None = Field(
        None,
        description="a mirror of the images: address in front of `<antibody number>/<plate>_<well>_<site>_<color>.jpg`",
    )


class SubcellCrops(Selection):
    """SubCell's published crops of single cells with their masks: no segmentation, the chain starts at the crops."""

    source: Literal["subcell_crops"]
    address: str = Field(
        "https://czi-subcell-public.s3.amazonaws.com/hpa-processed/cell_crops",
        description="address in front of `<plate>/<plate>_<well>_<sample>_<cell>_cell_image.png`",
    )
    metadata: str | None = Field(None, description="file or address of the table of cells; `metadata.csv` at `address`")
    pixel_size_um: float = Field(0.0800885, gt=0.01, le=2, description="micrometres a pixel")


class MakeSheet(Section):
    """What the target `make_sheet` looks for."""

    folder: str = Field("images", description="folder that holds the images")
    pattern: str = Field(
        "{field_id}_{color}.png",
        description="file name with column names in braces; `{color}` is blue, red, yellow or green, `{channel}` is nucleus, "
        "microtubules, er or protein",
    )
    channels: dict[str, Channel | Literal["reference_nuclei", "reference_cells"]] = Field(
        {}, description="further names that `{color}` and `{channel}` stand for: e.g. `{DAPI: nucleus, GFP: protein}`"
    )
    output: str = Field("images/fields.csv", description="the sheet to write; an existing one is not overwritten")
    pixel_size_um: Annotated[float, Field(ge=0.01, le=10)] | None = Field(
        None, description="micrometres a pixel, where the files do not say"
    )


class Download(Section):
    """How files are fetched from the web: politely, verified, and never twice. Changing this reruns nothing."""

    cache: str = Field(
        ".cache/downloads",
        description="folder of verified files by address, shared by all runs; images are hard links to it",
    )
    connections: int = Field(
        4,
        ge=1,
        le=64,
        description="connections to one host, of all jobs that share the cache (HPA: more than 4 cause errors)",
    )
    tries: int = Field(8, ge=1, le=100, description="requests in a row that bring nothing, before a file is given up")
    pause_s: float = Field(1, ge=0, le=600, description="first pause between tries, seconds; it doubles, with jitter")
    longest_pause_s: float = Field(
        600, ge=0, le=86_400, description="longest pause, seconds; a longer `Retry-After` gives the file up"
    )
    connect_timeout_s: float = Field(20, gt=0, le=600, description="longest wait for a connection, seconds")
    stall_timeout_s: float = Field(60, gt=0, le=3600, description="longest wait for the next bytes, seconds")
    max_mb: int = Field(2048, ge=1, description="largest image file, megabytes")
    hosts: list[str] = Field(
        [],
        description="hosts, with `:port` unless it is the usual one, that redirects may lead to besides the source's own",
    )
    unreachable: Literal["stop", "set_aside"] = Field(
        "stop", description="a server that brings nothing at all ends the job, or its fields are set aside"
    )


AnyDataset = Annotated[Simulate | Images | Hpa | SubcellCrops | Embeddings, Field(discriminator="source")]
