"""What a simulated dataset is made of: its size, its layout, its microscope and its switches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from subcell.errors import ConfigError

Layout = Literal["hpa", "perturbation"]
Microscope = Literal["confocal", "widefield"]


@dataclass(frozen=True)
class Effects:
    """Planted effects. With one switched off, what is measured of it is at chance; all else stays as it was.

    Attributes
    ----------
    sub_patterns : genes of one location differ in pattern; off: a location has one pattern
    complexes : genes of a complex share their locations and sub-pattern; off: complexes are lists of random genes
    discordant_antibodies : some antibodies show another protein than their label says
    wrong_labels : some training labels are wrong, incomplete or missing
    expression : lines that express alike look alike; off: expression has nothing to do with looks
    compounds : compounds change cells; off: all are inactive
    plates : plates differ in brightness, blur and offset
    positions : wells at the edge of a plate differ from others
    odd_cells : mitotic, multinucleated, floating and out-of-focus cells
    """

    sub_patterns: bool = True
    complexes: bool = True
    discordant_antibodies: bool = True
    wrong_labels: bool = True
    expression: bool = True
    compounds: bool = True
    plates: bool = True
    positions: bool = True
    odd_cells: bool = True


@dataclass(frozen=True)
class Settings:
    """One simulated dataset.

    A seed is a world: its genes, antibodies, lines, compounds and plates. Datasets of one seed and number of genes image
    the same genes and lines, whatever else differs.

    Attributes
    ----------
    seed : of everything
    layout : `hpa`: antibodies over cell lines, one line a plate; `perturbation`: one stain, compounds over plates
    genes : genes of the world
    imaged_genes : of these only the first so many are imaged; None images all
    cell_lines : lines of the dataset, unseen ones included
    unseen_lines : lines among them that a dataset without this setting does not have
    lines_per_antibody : most lines of one antibody; with 1, antibodies take turns over the lines, else the first line is on
        every antibody
    fields_per_well : fields in a well
    cells_per_field : fewest and most nuclei whose centre is in view, before the density of the line
    field_px : side of a field, pixels
    pixel_size_um : micrometres a pixel
    microscope : `widefield` blurs, adds haze and a camera offset
    missing_channels : stains that are not imaged
    compounds, doses, plates : `perturbation` only: compounds, doses of each, and plates that hold all of them
    negative_controls, positive_controls : `perturbation` only: wells a plate
    effects : switches
    """

    seed: int
    layout: Layout = "hpa"
    genes: int = 72
    imaged_genes: int | None = None
    cell_lines: int = 8
    unseen_lines: int = 0
    lines_per_antibody: int = 3
    fields_per_well: int = 2
    cells_per_field: tuple[int, int] = (9, 16)
    field_px: int = 448
    pixel_size_um: float = 0.32
    microscope: Microscope = "confocal"
    missing_channels: Sequence[str] = ()
    compounds: int = 10
    doses: int = 2
    plates: int = 3
    negative_controls: int = 4
    positive_controls: int = 1
    effects: Effects = field(default_factory=Effects)

    def __post_init__(self) -> None:
        """Take the switches as a mapping too, and refuse what cannot be drawn."""
        if isinstance(self.effects, Mapping):
            object.__setattr__(self, "effects", Effects(**self.effects))
        fewest, most = self.cells_per_field
        if not 0 <= fewest <= most:
            raise ConfigError(f"cells_per_field is {[fewest, most]}; expected the fewest, then the most cells a field")
        if self.unseen_lines > self.cell_lines:
            raise ConfigError(f"unseen_lines is {self.unseen_lines}, more than the {self.cell_lines} cell_lines")
