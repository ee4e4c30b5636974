"""What the rules ask of the configuration. No rules here, and nothing that reads a table or the network:
every job parses the workflow again."""

import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.current_basedir).parent / "scripts"))

from subcell.config import resolve
from subcell.config.code import code_version
from subcell.errors import ConfigError

COLLECTIONS = ("hpa", "subcell_crops")
"""Sources that are public collections: a release is read first, then fields are selected from it."""

ENTRIES_AT_MOST = 200
"""With up to as many genes their entries are fetched one by one; with more, the whole release."""

ADDRESSES = ("release", "xml", "location_table", "image_address", "address", "metadata")
"""Keys of a dataset that say where a collection lies. What is selected from it does not change what was read."""

try:
    resolved = resolve(config, source=", ".join(map(str, workflow.configfiles)) or "--config")
except ConfigError as error:
    raise WorkflowError(str(error)) from None
config.clear()
config.update(resolved)

# Snakemake itself would go on with the results of an earlier sheet.
if "make_sheet" not in sys.argv:
    for name, settings in config["datasets"].items():
        if settings["source"] == "images" and not Path(settings["sheet"]).is_file():
            raise WorkflowError(f"datasets.{name}.sheet: there is no file {settings['sheet']}")


def alternatives(names):
    """A pattern that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


def shards(dataset):
    """Names of a dataset's shards: known from the configuration, so that a dry run shows every job."""
    return [f"{shard:04d}" for shard in range(config["datasets"][dataset]["shards"])]


def per_shard(pattern):
    """Input function: the path of every shard of a dataset."""
    return lambda wildcards: collect(pattern, shard=shards(wildcards.dataset), **wildcards)


def local_files(settings):
    """Files of a collection that the user has already."""
    given = [settings.get(key) for key in ("xml", "location_table", "metadata")]
    return [path for path in given if path and "://" not in path]


def entries_wanted(settings):
    """Genes and Ensembl ids whose own entries are read instead of the whole release, where they are few."""
    names = [*settings["genes"], *settings["ensembl_ids"]]
    whole = (
        settings["source"] != "hpa" or settings["xml"] or settings["antibodies"] or settings["antibody_lists"]
    )
    return [] if whole or len(names) > ENTRIES_AT_MOST else names


def release_of(dataset):
    """The table of what a public collection has, where a dataset is one."""
    return (
        f"<results>/{dataset}/release.parquet" if config["datasets"][dataset]["source"] in COLLECTIONS else []
    )


def segmented():
    """Datasets whose cells we find ourselves; others bring crops of single cells."""
    return [name for name, settings in config["datasets"].items() if settings["source"] != "subcell_crops"]


def image_settings(dataset):
    """What the images of a shard depend on besides its fields."""
    settings = config["datasets"][dataset]
    if settings["source"] != "simulate":
        return {key: settings[key] for key in ("source", *ADDRESSES) if key in settings}
    return {key: value for key, value in settings.items() if key not in ("shards", "split")}


def web_lists(wildcards):
    """Input function: what says which files each dataset has on the web."""
    lists = {}
    for dataset in config["datasets"]:
        lists[f"fields_{dataset}"] = collect(
            "<results>/{dataset}/fields/{shard}.parquet", dataset=dataset, shard=shards(dataset)
        )
        lists[f"release_{dataset}"] = release_of(dataset)
    return lists


def pairs():
    """(dataset, model) for every model and the datasets that it embeds."""
    return [
        (dataset, model)
        for model, settings in config["models"].items()
        for dataset in settings["evaluate_on"] or config["datasets"]
    ]


def mapped_pairs():
    """(dataset, model) of every map."""
    wanted = config["map"]["models"]
    return [(dataset, model) for dataset, model in pairs() if wanted is None or model in wanted]


def per_pair(pattern, chosen, **more):
    """The path of every chosen (dataset, model)."""
    return [
        path for dataset, model in chosen for path in collect(pattern, dataset=dataset, model=model, **more)
    ]


def checkpoint_of(wildcards):
    """Weights of a model: trained here, given as a file, or none."""
    settings = config["models"][wildcards.model]
    if settings["kind"] != "subcell":
        return []
    return settings["checkpoint"] or f"<results>/models/{wildcards.model}/checkpoint.safetensors"


def training_crops(wildcards):
    """Crops of all datasets that a model learns from."""
    return [
        path
        for dataset in config["models"][wildcards.model]["train_on"]
        for path in collect("<results>/{dataset}/crops/{shard}.h5sc", dataset=dataset, shard=shards(dataset))
    ]


def trained_models():
    """Models that this workflow trains."""
    return [name for name, settings in config["models"].items() if settings.get("train_on")]


def rebuildable(path):
    """A file of a shard that costs disk and can be made again."""
    return path if config["keep_shards"] else temp(path)


def gpus_to_embed(wildcards):
    """GPUs that a job which embeds asks for: only networks can use one."""
    network = config["models"][wildcards.model]["kind"] not in ("handcrafted", "shortcuts")
    return int(network and config["gpus"] > 0)


def segmentation_weights():
    """The weights file of the segmentation model, where it is a file."""
    model = config["segmentation"]["model"]
    return {"compact": "resources/compact.safetensors", "cpsam_v2": []}.get(model, model)


def scored(benchmark):
    """Whether a benchmark was asked for."""
    return benchmark in config["benchmarks"]


def model_benchmarks():
    """Benchmarks that score a model; the others score a dataset."""
    return [name for name in config["benchmarks"] if name != "segmentation"]


def score_files(suffix):
    """Result files of all benchmarks."""
    models = per_pair(
        "<results>/{dataset}/{model}/benchmarks/{benchmark}.{suffix}",
        pairs(),
        benchmark=model_benchmarks(),
        suffix=suffix,
    )
    datasets = collect(
        "<results>/{dataset}/benchmarks/segmentation.{suffix}",
        dataset=segmented() if scored("segmentation") else [],
        suffix=suffix,
    )
    return [*models, *datasets]


report_templates = [
    str(Path(workflow.current_basedir).parent / "report" / name)
    for name in ("report.html.j2", "parts.html.j2", "methods.html.j2", "report.css")
]


def print_summary():
    """After a run: the headline scores and where the report lies."""
    results = Path(config["pathvars"].get("results", "results"))
    if (results / "summary.txt").exists():
        print((results / "summary.txt").read_text())
        print(f"Report: {results / 'report.html'}")
