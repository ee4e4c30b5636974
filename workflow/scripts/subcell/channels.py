"""The four stains of the Human Protein Atlas, in the one order that every array and model here uses."""

CHANNELS = ("microtubules", "er", "nucleus", "protein")
"""Order of the released SubCell models (their `rybg`)."""

COLORS = {"red": "microtubules", "yellow": "er", "blue": "nucleus", "green": "protein"}
"""HPA's file names say the display colour."""

REFERENCES = ("reference_nuclei", "reference_cells")
"""Label images that a dataset may bring along, to score our masks against."""
