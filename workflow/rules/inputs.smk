"""What the rules ask of the configuration. No rules here, and nothing that reads a table or the network:
every job parses the workflow again."""

import os
import re
import shutil
import sys
from pathlib import Path

from snakemake import __version__ as snakemake_version
from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.current_basedir).parent / "scripts"))

from subcell.catalog.released import CHANNEL_SETS, VARIANTS, released_name
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
    """Datasets whose cells we find ourselves; others bring crops of single cells, or vectors."""
    return [name for name in image_datasets() if config["datasets"][name]["source"] != "subcell_crops"]


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


def pairs():
    """(dataset, model) for every model and the datasets that it embeds."""
    return [
        (dataset, model)
        for model, settings in config["models"].items()
        for dataset in settings["evaluate_on"] or image_datasets()
    ]


def mapped_pairs():
    """(dataset, model) of every map."""
    models, datasets = config["map"]["models"], config["map"]["datasets"]
    return [
        (dataset, model)
        for dataset, model in pairs()
        if (models is None or model in models) and (datasets is None or dataset in datasets)
    ]


def maps_made():
    """(dataset, model) of every map, and (dataset, model, line) of every map of one cell line."""
    return [
        (*pair, *line)
        for pair in mapped_pairs()
        for line in [(), *((line,) for line in config["map"]["lines"])]
    ]


def per_map(name):
    """The path of a file of every map."""
    return [
        f"<results>/{dataset}/{model}/{''.join(f'lines/{part}/' for part in line)}{name}"
        for dataset, model, *line in maps_made()
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


def image_datasets():
    """Datasets that begin with images."""
    return [name for name, settings in config["datasets"].items() if settings["source"] != "embeddings"]


def vector_datasets():
    """Datasets that begin with vectors."""
    return [name for name in config["datasets"] if name not in image_datasets()]


def embedding_models():
    """Models that turn images into vectors."""
    return [name for name, settings in config["models"].items() if settings["kind"] != "imported"]


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


def fine_tuned_weights():
    """The file that `fine_tune` writes; its name says to the segmentation which kind of model it holds."""
    model = config["fine_tune"]["model"]
    compact = model == "compact" or model.endswith(".safetensors")
    return f"<results>/fine_tuned/{'compact.safetensors' if compact else 'cellpose_model'}"


def camera_of(wildcards):
    """Corrections of a dataset's images."""
    return config["datasets"][wildcards.dataset].get("camera", {})


def flat_field_of(wildcards):
    """Input function: the flat fields of a dataset's plates, where it wants them."""
    wanted = camera_of(wildcards).get("flat_field")
    return collect("<results>/{dataset}/flat_field", dataset=wildcards.dataset) if wanted else []


MAP_TABLES = [
    *("clusters", "levels", "enrichment", "enrichment_controls", "annotation"),
    *("annotation_test", "agreement", "findings", "filters"),
]


def map_settings(more=None):
    """The library's part of the section `map`; the rest says which maps are made, and with what."""
    left_out = ("models", "datasets", "lines", "workers", "downloads")
    return {key: value for key, value in config["map"].items() if key not in left_out} | (more or {})


def map_files():
    """Local files that a map reads besides the cells."""
    section = config["map"]
    named = [entry["file"] for entry in (*section["gene_sets"], *section["interactions"])]
    named += [entry["ontology"] for entry in section["gene_sets"] if entry["ontology"]]
    named += [section[key] for key in ("published", "findings") if section[key]]
    return [name for name in dict.fromkeys(named) if name not in section["downloads"]]


def map_title(dataset, model, line=None):
    """What stands above a map; simulated data is called so."""
    simulated = ", SIMULATED images" if config["datasets"][dataset]["source"] == "simulate" else ""
    return f"{dataset} as {model} sees it{f', {line}' if line else ''}{simulated}"


def pathvar(name):
    """The folder that stands for <results> or <logs>."""
    return config["pathvars"].get(name, name)


def made(pattern, names):
    """Those paths of a pattern with {name} that this workflow makes; the report shows what is there."""
    paths = [pattern.replace("<results>", pathvar("results")).format(name=name) for name in names]
    return [path for path in paths if any(rule.is_producer(path) for rule in workflow.rules)]


def map_tables(wildcards):
    """Tables beside a map that its explorer shows, by name."""
    folder = f"<results>/{wildcards.dataset}/{wildcards.model}"
    names = ["enrichment", "annotation", "neighbors"]
    if (wildcards.dataset, wildcards.model) in location_pairs():
        names.append("locations")
    return {name: f"{folder}/{name}.tsv" for name in names}


def crops_shown(wildcards):
    """Crops of a dataset, where it has images."""
    if wildcards.dataset not in image_datasets():
        return []
    return collect("<results>/{dataset}/crops/{shard}.h5sc", shard=shards(wildcards.dataset), **wildcards)


def files_of_workflow(pattern):
    """Files of the workflow itself, on which the report depends."""
    return sorted(map(str, Path(workflow.current_basedir).parent.parent.glob(pattern)))


report_templates = files_of_workflow("workflow/report/page/*")
environment_files = files_of_workflow("envs/*.yaml")
workflow_files = [*files_of_workflow("workflow/Snakefile"), *files_of_workflow("workflow/rules/*.smk")]


def print_summary():
    """After a run: the headline scores and where the report lies."""
    results = Path(pathvar("results"))
    if (results / "summary.txt").exists():
        print((results / "summary.txt").read_text())
        print(f"Report: {results / 'report.html'}; rules, runtimes and provenance: {results / 'report.zip'}")


def zip_report():
    """After a run that ends with the report: Snakemake's own, with rules, runtimes and provenance, as a zip.

    `report-after-run` in a profile would do the same, but ends a dry run of a fresh clone with an error. A report that
    cannot be made is a warning: the results are there.
    """
    if not any(job.rule.name == "report" for job in workflow.dag.jobs):
        return
    from snakemake.logging import logger
    from snakemake.report import auto_report
    from snakemake.report.html_reporter import ReportSettings
    from snakemake.settings.types import GlobalReportSettings
    from snakemake_interface_report_plugins.registry import ReportPluginRegistry

    path = Path(pathvar("results")) / "report.zip"
    # The folder inside the zip is called as the file.
    temporary = path.parent / f".report.{os.getpid()}.tmp" / path.name
    temporary.parent.mkdir(exist_ok=True)
    plugin = ReportPluginRegistry().get_plugin("html")
    try:
        made = auto_report(workflow.dag, plugin, ReportSettings(path=temporary), GlobalReportSettings())
        workflow.async_run(made)
        temporary.replace(path)
    except Exception as problem:
        logger.warning(f"{path} could not be written: {problem}")
    finally:
        shutil.rmtree(temporary.parent)
