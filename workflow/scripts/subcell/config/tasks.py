"""Section `tasks` of the configuration: what single benchmarks need besides vectors."""

from typing import Literal

from pydantic import Field

from subcell.config.sections import Name, Section


class Transcriptome(Section):
    """Cell lines that look alike against lines that express alike."""

    expression: str | None = Field(
        None,
        description="log2(TPM + 1), a row a line and a column a gene (parquet, csv, tsv), or HPA's rna_celline.tsv(.zip); "
        "simulated datasets bring their own",
    )
    permutations: int = Field(
        100_000,
        ge=100,
        le=100_000_000,
        description="orders that Mantel's test draws; up to 8 lines it tries all (paper: 10^6)",
    )


class PairFile(Section):
    """Related proteins: complexes (CORUM, GMT, or columns `complex` and `gene`), or interactions (BioPlex and STRING as
    they are published, or two genes and a score)."""

    name: Name = Field(description="of the source, in names of scores")
    file: str = Field(description="the file, plain, .gz or .zip")
    min_score: float = Field(0, ge=0, description="pairs with a lower score are left out (STRING in the paper: 700)")
    aliases: str | None = Field(
        None, description="file with a protein's id and its gene: protein.info, with STRING's protein.links"
    )
    baits: str | None = Field(
        None, description="file with a gene a line: those whose partners were looked for; others say nothing (BioPlex)"
    )


class Interactions(Section):
    """Related proteins against others of the same locations."""

    pairs: list[PairFile] = Field([], description="sources; simulated datasets without any take their own complexes")
    negatives: int = Field(5, ge=1, le=100, description="unrelated pairs for each related one")
    folds: int = Field(5, ge=2, le=50, description="folds of the pair classifier; complexes stay whole")
    prevalence: float = Field(
        0.05, gt=0, lt=1, description="share of related pairs at which average precision and recall are stated"
    )
    precision: float = Field(0.5, gt=0, lt=1, description="precision at which recall is stated")


class Processing(Section):
    """One way from cells to profiles of wells."""

    average: Literal["mean", "median"] = Field("mean", description="over the cells of a field")
    scale: Literal["standard", "robust"] = Field("robust", description="of each feature over the wells of a plate")
    select: bool = Field(True, description="leave out features without spread, and those that repeat another")
    sphere: Literal["none", "covariance", "correlation"] = Field(
        "correlation", description="whiten by the control wells: ZCA, or ZCA-cor"
    )


class Perturbation(Section):
    """Compounds and mechanisms found on other plates."""

    processing: Processing | None = Field(
        None, description="one way for all; absent: the best of 24, chosen on other compounds and plates"
    )


class SampledCells(Section):
    """A benchmark of images, on some cells of a dataset."""

    sampled_cells: int = Field(100, ge=8, le=100_000, description="cells, chosen by a hash of their id")


class External(Section):
    """Classifiers trained on one dataset, scored on others."""

    home: Name | None = Field(
        None, description="dataset whose cells they are trained on; a trained model's first `train_on` when absent"
    )


class Tasks(Section):
    """What single benchmarks need."""

    transcriptome: Transcriptome = Field(Transcriptome(), description="expression of cell lines")
    interactions: Interactions = Field(Interactions(), description="complexes and interactions")
    perturbation: Perturbation = Field(Perturbation(), description="compounds and mechanisms")
    attention: SampledCells = Field(SampledCells(), description="where networks look, against the parts of a cell")
    robustness: SampledCells = Field(SampledCells(), description="changed images of the same cells")
    external: External = Field(External(), description="images from elsewhere")
