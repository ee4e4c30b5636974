"""What jobs ask a cluster for. No rules here."""

from functools import cache
from pathlib import Path

CPUS_TO_TRAIN, CPUS_TO_EMBED = 8, 4
"""CPUs beside a GPU: processes that read crops, so that it does not wait. Networks themselves compute with `threads`."""

STATE_MB = {"tiny": 28, "small": 614, "base": 4510}
"""Weights, gradients and the optimiser's means of a masked autoencoder of each size (`make plan`)."""

CROP_PLANES = 6
"""Two masks and four channels."""

OF_8_BITS = "simulate", "hpa"
"""Sources whose pixels are a byte; others may have two."""

GPU_BATCH = 128
"""Cells that a GPU embeds at a time."""


def memory(mb, times=0):
    """Resource function: megabytes for a job; more at each attempt, and `times` its inputs where it holds them in memory."""
    if not times:
        return lambda wildcards, attempt: mb * attempt
    return lambda wildcards, input, attempt: max(mb, int(times * input.size_mb)) * attempt


def minutes(least):
    """Resource function: minutes for a job that goes through the vectors of all cells: one more for ten megabytes."""
    return lambda wildcards, input, attempt: (least + int(input.size_mb / 10)) * attempt


def minutes_anew(least):
    """Resource function: minutes for a job that begins anew at each attempt, which then has that much more time."""
    return lambda wildcards, attempt: least * attempt


@cache
def lists_addresses(sheet):
    """Whether a sheet names files on the web, or may do so: it is read by jobs of `download` alone."""
    return Path(sheet).is_file() and b"://" in Path(sheet).read_bytes()


def fetches(wildcards):
    """`downloads` of a job that brings images: 1 where they come from a server."""
    settings = config["datasets"][wildcards.dataset]
    if settings["source"] == "images":
        return int("://" in (settings["file_pattern"] or "") or lists_addresses(settings["sheet"]))
    return int(settings["source"] in COLLECTIONS)


def crop_mb():
    """Megabytes of one crop in memory, as it is stored."""
    narrow = all(dataset["source"] in OF_8_BITS for dataset in config["datasets"].values())
    return CROP_PLANES * (1 if narrow else 2) * config["crops"]["pixels"] ** 2 / 1e6


def memory_to_train(wildcards, attempt):
    """Megabytes for a training: batches that are read ahead, two by each process that reads, or what a CPU computes with."""
    model = config["models"][wildcards.model]
    training, gpus = model["training"], config["gpus"]
    batch = training["items_per_batch"] * training["cells_per_item"] * crop_mb()
    readers = CPUS_TO_TRAIN - 1 if training["workers"] is None else training["workers"]
    batches = 2 * readers + 3 if gpus else 10
    return int(4000 * max(1, gpus) + STATE_MB[model["size"]] + batches * batch) * attempt


def minutes_to_train(wildcards):
    """Minutes for an attempt; the next goes on where it was."""
    return 2880 if config["models"][wildcards.model]["size"] == "base" else 1440


def cpus_to_train(wildcards):
    """CPUs for a training."""
    return max(config["threads"], CPUS_TO_TRAIN * config["gpus"])


def memory_to_embed(wildcards, attempt):
    """Megabytes for a job that embeds: four batches by each process that reads for a GPU, and what is being computed."""
    batches = 4 * (CPUS_TO_EMBED + 1) if gpus_to_embed(wildcards) else 0
    return int(3000 + batches * GPU_BATCH * crop_mb()) * attempt


def cpus_to_embed(wildcards):
    """CPUs for a job that embeds."""
    return max(config["threads"], CPUS_TO_EMBED * gpus_to_embed(wildcards))
