"""Section `map` of the configuration: from cells to units to a tree of compartments."""

from typing import Annotated, Literal

from pydantic import Field

from subcell.config.sections import Name, Section

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Grade = Literal["Enhanced", "Supported", "Approved", "Uncertain"]


class Filters(Section):
    """Which cells a map takes, in this order; the paper's map uses all of them."""

    cell_lines: list[str] | None = Field(None, min_length=1, description="cell lines to take; all when absent")
    require_location: bool = Field(False, description="leave out cells whose antibody has no location")
    single_gene: bool = Field(False, description="leave out antibodies that bind the products of several genes")
    drop_reliability: list[Grade] = Field([], description="grades of evidence to leave out; the paper: Uncertain")
    best_antibody: bool = Field(
        False, description="of the antibodies of a gene only the one with the best grade (then the most cells)"
    )


class Ladder(Section):
    """Rising resolutions among which `method: ladder` looks for plateaus of stability."""

    lowest: float = Field(0.05, gt=0, le=100, description="first resolution")
    highest: float = Field(5.0, gt=0, le=100, description="last resolution")
    rungs: int = Field(40, ge=3, le=1000, description="resolutions, evenly spaced on a log scale")
    most_levels: int = Field(8, ge=1, le=50, description="plateaus that become levels, at most")


class ReferenceFile(Section):
    """A reference file that is fetched once into `<results>/references`."""

    url: str = Field(pattern=r"^https?://", description="where it lies")
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="checksum that it must have; without one, that of the first download is recorded and kept to",
    )


class GeneSetFile(Section):
    """Sets of genes that clusters are tested against: GMT, CORUM, HPA locations, GO annotations (GAF), term-gene tables."""

    name: str = Field(max_length=60, description="of the source, in tables and figures")
    file: str = Field(description="a path, or a name in `downloads`; plain, .gz or .zip")
    independent: bool | None = Field(
        None,
        description="whether the sets come from other evidence than HPA images; absent: yes, but for HPA's locations and "
        "GO annotations that include HPA's",
    )
    ontology: str | None = Field(None, description="go-basic.obo for GO annotations: a path or a name in `downloads`")
    aspect: Literal["CC", "BP", "MF"] | None = Field(None, description="part of GO; all when absent")
    exclude_assigned_by: list[str] = Field(["HPA"], description="GO annotations made by these are left out")
    pairs: bool = Field(False, description="also measure whether genes of one set lie together (complexes)")


class InteractionFile(Section):
    """Pairs of genes that interact."""

    name: str = Field(max_length=60, description="of the reference")
    file: str = Field(
        description="a path, or a name in `downloads`: BioPlex and STRING as they are published, or two genes and a score"
    )
    aliases: str | None = Field(
        None,
        description="with STRING's protein.links its table protein.info, which names the genes: a path or a name in `downloads`",
    )
    min_score: float = Field(0, description="interactions with a lower score are left out")


class Enrichment(Section):
    """Hypergeometric tests of clusters against terms, the tested units as background."""

    min_term: int = Field(3, ge=1, description="terms with fewer units on the map are not tested")
    max_term: int = Field(2000, ge=1, description="terms with more units on the map are not tested")
    min_cluster: int = Field(3, ge=1, description="clusters with fewer tested units are not tested (paper: 5)")
    alpha: float = Field(0.05, gt=0, lt=1, description="false discovery rate")
    shuffles: int = Field(10, ge=0, le=10_000, description="times that labels are shuffled as a control")


class Map(Section):
    """The multiscale map of proteins."""

    models: list[Name] | None = Field(None, description="models whose vectors are mapped; all when absent")
    datasets: list[Name] | None = Field(None, description="datasets that are mapped; all when absent")
    unit: Literal["gene", "antibody", "well", "compound", "field"] = Field(
        "gene", description="what a point of the map is"
    )
    average: Literal["mean", "median", "mean_and_spread"] = Field(
        "mean",
        description="how the cells of a unit are summarised; `mean_and_spread` puts the spread of the cells of a field "
        "beside their mean, so that units that vary differ from units that do not",
    )
    split_lines: bool = Field(False, description="a point for each cell line of a unit")
    lines: list[str] = Field([], description="cell lines that get a map of their own besides, under `lines/`")
    filters: Filters = Field(Filters(), description="which cells")
    batches: list[Literal["plate", "microscope"]] = Field(
        [],
        description="batches that Harmony removes; refused where a batch holds (nearly) one cell line or one unit only. "
        "The microscope is `batch` of the sheet, else what the Atlas's two widths of images tell (2048 pixels and narrower)",
    )
    batches_within_line: bool = Field(False, description="remove them in each cell line by itself")
    min_cells: int = Field(1, ge=1, description="units with fewer cells are left out")
    method: Literal["resolutions", "paper", "ladder"] = Field(
        "resolutions",
        description="how levels are found: at the resolutions of `levels`; as the paper nests them (`paper_levels`); or "
        "where a fine `ladder` of resolutions is stable",
    )
    levels: list[Annotated[float, Field(ge=0, le=100)]] = Field(
        [0.1, 0.5, 1.0, 2.0], min_length=1, max_length=50, description="Leiden resolutions, rising"
    )
    paper_levels: list[tuple[float, int]] = Field(
        [(0.0, 125), (0.15, 100), (0.2, 90), (0.25, 55), (0.3, 40), (0.33, 25), (0.36, 10)],
        min_length=1,
        max_length=50,
        description="resolution and neighbours (scanpy's number) of each level, each cluster clustered again by itself",
    )
    ladder: Ladder = Field(Ladder(), description="for `method: ladder`")
    neighbors: int = Field(
        15,
        ge=2,
        le=1000,
        description="neighbours in the graph, for the other two methods; with few the graph falls apart, and no level is "
        "coarser than its parts",
    )
    umap_neighbors: int | None = Field(
        None,
        ge=2,
        le=1000,
        description="neighbours of a point in its UMAP, itself counted (paper: 125, beside its minimal distance 0.5 and "
        "spread 0.6, which all UMAPs have); absent: those of the graph, or of the first of `paper_levels`",
    )
    seeds: int = Field(
        20,
        ge=1,
        le=1000,
        description="runs with other seeds; a cluster's stability is the least over the kinds of runs",
    )
    bootstraps: int = Field(
        10, ge=0, le=1000, description="runs on resampled wells or fields, and as many on held-out antibodies alone"
    )
    resample: Literal["field", "well"] = Field(
        "field",
        description="what is resampled within a unit; the Atlas stains an antibody in one well of a line",
    )
    stable_at: float = Field(
        0.75, ge=0, le=1, description="Jaccard overlap from which a cluster counts as found again, in every kind of run"
    )
    downloads: dict[FileName, ReferenceFile] = Field({}, description="reference files to fetch: file name: where from")
    gene_sets: list[GeneSetFile] = Field(
        [], description="sets of genes; locations of the cells' own table always count"
    )
    interactions: list[InteractionFile] = Field([], description="pairs of genes")
    published: str | None = Field(
        None, description="published clusters to compare with: a table of genes and Cluster_level_1, 2 ..."
    )
    published_counts: str | None = Field(
        None,
        description="counts of a published map, which levels.tsv and filters.tsv put beside ours; "
        "`resources/paper_map.tsv` has the paper's",
    )
    findings: str | None = Field(
        "resources/paper_findings.tsv",
        description="sets of genes that should lie together, and what they should part from",
    )
    enrichment: Enrichment = Field(Enrichment(), description="tests of clusters")
    curve: int = Field(
        12,
        ge=0,
        le=500,
        description="further resolutions at which agreement is measured: around `levels`, or of one graph beside "
        "`paper_levels`",
    )
    single_cells: int = Field(
        0, ge=0, le=10_000_000, description="cells of which a UMAP is made, sampled; 0 makes none"
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="processes that share the runs of one map; `--cores` bounds them, results do not change",
    )
    seed: int = Field(42, ge=0, description="seed of Leiden and UMAP")
