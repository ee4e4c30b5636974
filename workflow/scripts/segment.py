"""Segment one shard of fields into nuclei and cells."""

from job import job
from subcell.catalog.fields import read_fields
from subcell.imaging.camera import Camera
from subcell.segmentation.run import segment_fields
from subcell.segmentation.segmenter import Segmenter

with job(snakemake) as run:
    settings, device = dict(snakemake.params.settings), run.device
    second = settings.pop("compare_with")
    segment_fields(
        snakemake.input.images,
        read_fields(snakemake.input.fields),
        Segmenter(**settings, device=device),
        snakemake.output.masks,
        snakemake.output.cells,
        snakemake.output.qc,
        camera=Camera(**{**snakemake.params.camera, "flat_field": str(snakemake.input.flat_field) or None}),
        compare_with=Segmenter(**{**settings, "model": second}, device=device) if second else None,
        workers=run.threads if device == "cpu" else run.readers,
        progress=run.progress,
    )
