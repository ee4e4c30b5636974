"""Segment one shard of fields into nuclei and cells."""

from job import job
from subcell.catalog.fields import read_fields
from subcell.segmentation.run import segment_fields
from subcell.segmentation.segmenter import Segmenter

with job(snakemake) as run:
    segmenter = Segmenter(**snakemake.params.settings, device=run.device)
    segment_fields(
        snakemake.input.images,
        read_fields(snakemake.input.fields),
        segmenter,
        snakemake.output.masks,
        snakemake.output.cells,
        snakemake.output.qc,
        progress=run.progress,
    )
