"""From microscopy fields to a multiscale map of proteins; knows nothing of Snakemake.

The folders follow the data, and each imports only from those before it: catalog, imaging, sources, segmentation,
crops, model, embedding, atlas, benchmarks, reporting.
"""

__version__ = "0.1.0"
