"""Simulated four-channel fields with full truth, laid out like the Human Protein Atlas or like a drug screen.

All images are SIMULATED: they test that the chain works, and say nothing about biology. `design_fields` lists the
fields, `simulate_fields` draws them, `write_truth` says what is true of them. A seed is a world: its genes, antibodies,
cell lines and plates. The same seed with another microscope images the same genes and lines again; another seed, other
numbers of cells, another pixel size or microscope give fields that a network trained on the first world has not seen
the like of.
"""

from subcell.sources.simulate.design import design_fields
from subcell.sources.simulate.genes import LOCATIONS
from subcell.sources.simulate.render import Rendered, render_field, simulate_fields
from subcell.sources.simulate.settings import Effects, Settings
from subcell.sources.simulate.truth import write_truth
from subcell.sources.simulate.version import VERSION

__all__ = [
    "LOCATIONS",
    "VERSION",
    "Effects",
    "Rendered",
    "Settings",
    "design_fields",
    "render_field",
    "simulate_fields",
    "write_truth",
]
