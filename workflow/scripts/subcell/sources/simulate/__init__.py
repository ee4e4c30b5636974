"""Simulated four-channel fields with full truth, laid out like the Human Protein Atlas.

All images are SIMULATED: they test that the chain works, and say nothing about biology. `design_fields` lists the
fields, `simulate_fields` draws them. A seed is a world: its genes, antibodies, cell lines and plates. The same seed
with another microscope images the same genes and lines again; another seed, other numbers of cells, another pixel size
or microscope give fields that a network trained on the first world has not seen the like of.
"""

from subcell.sources.simulate.design import LOCATIONS, design_fields
from subcell.sources.simulate.render import render_field, simulate_fields

SIMULATOR_VERSION = "1"
"""Changes whenever the same settings give other images."""

__all__ = ["LOCATIONS", "SIMULATOR_VERSION", "design_fields", "render_field", "simulate_fields"]
