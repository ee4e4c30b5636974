"""What the rules ask of the configuration. No rules here, and nothing that reads a table or the network:
every job parses the workflow again. What is asked for every job, such as all pairs of datasets and models, is found once.
"""

import os
import re
import sys
from functools import cache
from pathlib import Path

from snakemake import __version__ as snakemake_version
from snakemake.exceptions import WorkflowError

if not os.path.isdir(str(workflow.current_basedir)):
    raise WorkflowError(
        f"This workflow brings its library and its resources along, so it runs in a clone of its own, not as a module "
        f"from {workflow.current_basedir}: clone the repository, and run snakemake there."
    )
SCRIPTS = Path(workflow.current_basedir).parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from run_lock import take_over
from subcell.catalog.released import CHANNEL_SETS, VARIANTS, released_name
from subcell.config.check import resolve
from subcell.config.code import code_version, module_file
from subcell.config.own_tasks import unknown_settings
from subcell.config.keys import check_keys_once
from subcell.config.reruns import embedded_with, learned_from
from subcell.config.suite import SUITE, module_of
from subcell.errors import ConfigError
from subcell.segmentation.kinds import is_compact
from subcell.segmentation.labelled import labelled_files

COLLECTIONS = ("hpa", "subcell_crops")
"""Sources that are public collections: a release is read first, then fields are selected from it."""

ENTRIES_AT_MOST = 200
"""With up to as many genes their entries are fetched one by one; with more, the whole release."""

ADDRESSES = ("release", "xml", "location_table", "image_address", "address", "metadata")
"""Keys of a dataset that say where a collection lies. What is selected from it does not change what was read."""

try:
    check_keys_once(workflow.configfiles)
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

if problems := unknown_settings(config["own_tasks"]):
    raise WorkflowError("\n".join(problems))


# Kept open until the run ends, however it does.
run_lock = take_over() if workflow.is_main_process else None

if workflow.remote_exec:
    # This Snakemake runs one job, which a scheduler has started and given its GPUs.
    os.environ.update(SUBCELL_REMOTE_JOB="1")


CHECKSUMMED = ("fetch_weights", "fetch_released_crops", "download_reference")
"""Rules that hold what they fetch to a checksum: the same files, whatever code fetches them."""


def follow_code():
    """Let every job run again when its driver changes, or anything that this imports; no rule lists that itself."""
    for one in workflow.rules:
        if one.script and one.name not in CHECKSUMMED:
            one.set_params(code=code_of(one.name, one.script))


def code_of(name, script):
    """Function of wildcards: the version of a rule's driver, and of the benchmark that the driver loads by its name."""
    driver = SCRIPTS / Path(script).name

    def version(wildcards):
        task = wildcards.get("benchmark", name)
        own = config["own_tasks"].get(task, {}).get("file")
        loaded = (
            [module_file(module_of(task))] if task in SUITE else [own] if own and Path(own).is_file() else []
        )
        return code_version(driver, *loaded)

    return version


def pathvar(name):
    """The folder that stands for <results> or <logs>."""
    return config["pathvars"].get(name, name)


def alternatives(names):
    """A pattern that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


@cache
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


@cache
def segmented():
    """Datasets whose cells we find ourselves; others bring crops of single cells, or vectors."""
    return [name for name in image_datasets() if config["datasets"][name]["source"] != "subcell_crops"]


@cache
def simulated():
    """Datasets whose images are simulated, with full truth."""
    return [name for name, settings in config["datasets"].items() if settings["source"] == "simulate"]


def published():
    """Datasets that bring crops of single cells."""
    return [name for name in image_datasets() if name not in segmented()]


def collections():
    """Datasets that are taken from public collections."""
    return [name for name in image_datasets() if config["datasets"][name]["source"] in COLLECTIONS]


def image_settings(dataset):
    """What the images of a shard depend on besides its fields."""
    settings = config["datasets"][dataset]
    if settings["source"] != "simulate":
        return {key: settings[key] for key in ("source", *ADDRESSES) if key in settings}
    return {
        key: value
        for key, value in settings.items()
        if key not in ("shards", "split", "camera", "benchmarks")
    }


def web_lists(wildcards):
    """Input function: what says which files each dataset has on the web."""
    lists = {}
    for dataset in image_datasets():
        lists[f"fields_{dataset}"] = collect(
            "<results>/{dataset}/fields/{shard}.parquet", dataset=dataset, shard=shards(dataset)
        )
        lists[f"release_{dataset}"] = release_of(dataset)
    return lists


@cache
def pairs():
    """(dataset, model) for every model and the datasets that it embeds."""
    return [
        (dataset, model)
        for model, settings in config["models"].items()
        for dataset in settings["evaluate_on"] or image_datasets()
    ]


def per_pair(pattern, chosen, **more):
    """The path of every chosen (dataset, model)."""
    return [
        path for dataset, model in chosen for path in collect(pattern, dataset=dataset, model=model, **more)
    ]


def released_of(settings):
    """Names of the released networks that a model may be: one, or all to choose from by a dataset's channels."""
    channels = list(CHANNEL_SETS) if settings["released"] == "auto" else [settings["released"]]
    return [released_name(name, settings["recipe"]) for name in channels]


def released_networks():
    """Names of all released networks of SubCell that can be fetched."""
    return [released_name(channels, recipe) for channels in CHANNEL_SETS for recipe in VARIANTS]


@cache
def image_datasets():
    """Datasets that begin with images."""
    return [name for name, settings in config["datasets"].items() if settings["source"] != "embeddings"]


def vector_datasets():
    """Datasets that begin with vectors."""
    return [name for name in config["datasets"] if name not in image_datasets()]


def embedding_models():
    """Models that turn images into vectors."""
    return [name for name, settings in config["models"].items() if settings["kind"] != "imported"]


@cache
def network_pairs():
    """(dataset, model) of every network whose attention is looked at."""
    asked = config["attention"]["models"]
    chosen = [
        name
        for name, settings in config["models"].items()
        if (settings["kind"] in ("subcell", "dino4cells") if asked is None else name in asked)
    ]
    datasets = config["attention"]["datasets"] or image_datasets()
    return [(dataset, model) for dataset, model in pairs() if model in chosen and dataset in datasets]


@cache
def location_pairs():
    """(dataset, model) of every model that says locations."""
    says = [
        name
        for name, settings in config["models"].items()
        if settings["kind"] in ("bestfitting", "imported")
        or settings.get("released")
        or settings.get("classifiers")
    ]
    return [(dataset, model) for dataset, model in pairs() if model in says]


def released_table(wildcards):
    """The released table of vectors, whose address is not fixed."""
    table = config["check_released"]["table"]
    if not table:
        raise WorkflowError(
            "check_released.table: name the released h5ad of vectors (SubCell's model card says where it is)"
        )
    return table


def replaced_stains(dataset):
    """Stains of a dataset that stand in for a channel, as text."""
    replaced = config["datasets"][dataset].get("channel_map", {})
    return ";".join(f"{channel}={stain}" for channel, stain in replaced.items())


def checkpoint_of(wildcards):
    """Weights of a model: trained here, released, given as a file, or none."""
    settings = config["models"][wildcards.model]
    if settings.get("released"):
        return [f"<results>/weights/{name}" for name in released_of(settings)]
    if settings["kind"] == "subcell" and not settings["checkpoint"]:
        return f"<results>/models/{wildcards.model}/checkpoint.safetensors"
    return settings.get("checkpoint") or []


def fields_to_choose_by(wildcards):
    """Input function: all fields of a dataset, where their channels decide which released network a model is."""
    if config["models"][wildcards.model].get("released") != "auto":
        return []
    dataset = wildcards.dataset
    return collect("<results>/{dataset}/fields/{shard}.parquet", dataset=dataset, shard=shards(dataset))


def training_crops(wildcards):
    """Crops of all datasets that a model learns from."""
    return [
        path
        for dataset in config["models"][wildcards.model]["train_on"]
        for path in collect("<results>/{dataset}/crops/{shard}.h5sc", dataset=dataset, shard=shards(dataset))
    ]


@cache
def trained_models():
    """Models that this workflow trains."""
    return [name for name, settings in config["models"].items() if settings.get("train_on")]


def reconstructs(model):
    """Whether a model learns to fill in hidden patches, of which it then shows some."""
    settings = config["models"][model]
    weight = settings["objective"]["reconstruction"]
    return settings["recipe"].startswith("mae") if weight is None else weight > 0


def rebuildable(path):
    """A file of a shard that costs disk and can be made again."""
    return path if config["keep_shards"] else temp(path)


def gpus_to_embed(wildcards):
    """GPUs that a job which embeds asks for: only networks can use one."""
    network = config["models"][wildcards.model]["kind"] not in ("handcrafted", "shortcuts")
    return int(network and config["gpus"] > 0)


def segmentation_weights():
    """The weights files of the segmentation models, where they are files."""
    files = {"compact": "resources/compact.safetensors", "cpsam_v2": None, "cpsam": None, None: None}
    models = [config["segmentation"][key] for key in ("model", "compare_with")]
    return list(filter(None, (files.get(model, model) for model in models)))


def tunes_compact():
    """Whether `fine_tune` starts from compact networks rather than from one of Cellpose's."""
    return is_compact(config["fine_tune"]["model"])


def fine_tuned_weights():
    """The file that `fine_tune` writes; its name says to the segmentation which kind of model it holds."""
    return f"<results>/fine_tuned/{'compact.safetensors' if tunes_compact() else 'cellpose_model'}"


for key in ("model", "compare_with"):
    if config["segmentation"][key] == "fine_tuned":
        config["segmentation"][key] = fine_tuned_weights().replace("<results>", pathvar("results"))


def labelled_fields(wildcards):
    """Input function: what `fine_tune` learns from, so that other labels train anew; the job says what is not there."""
    sheet, model = Path(config["fine_tune"]["sheet"] or "nowhere"), Path(config["fine_tune"]["model"])
    return [str(path) for path in [sheet, model, *labelled_files(sheet)] if path.is_file()]


def camera_of(wildcards):
    """Corrections of a dataset's images."""
    return config["datasets"][wildcards.dataset].get("camera", {})


def flat_field_of(wildcards):
    """Input function: the flat fields of a dataset's plates, where it wants them."""
    wanted = camera_of(wildcards).get("flat_field")
    return collect("<results>/{dataset}/flat_field", dataset=wildcards.dataset) if wanted else []


def crops_shown(wildcards):
    """Crops of a dataset, where it has images."""
    if wildcards.dataset not in image_datasets():
        return []
    return collect("<results>/{dataset}/crops/{shard}.h5sc", shard=shards(wildcards.dataset), **wildcards)
