"""What the rules ask of the configuration. No rules here, and nothing that reads a table or the network:
every job parses the workflow again."""

import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.current_basedir).parent / "scripts"))

from subcell.config import resolve
from subcell.config.code import code_version
from subcell.errors import ConfigError

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
        dataset=config["datasets"] if scored("segmentation") else [],
        suffix=suffix,
    )
    return [*models, *datasets]


def pathvar(name):
    """The folder that stands for <results> or <logs>."""
    return config["pathvars"].get(name, name)


def made(pattern, names):
    """Paths that some rule makes, of a pattern with {name}: stages may write more or less, the report shows what is there."""
    paths = [pattern.replace("<results>", pathvar("results")).format(name=name) for name in names]
    return [path for path in paths if any(rule.is_producer(path) for rule in workflow.rules)]


def map_tables(wildcards):
    """Tables beside a map that some rule makes, by name."""
    folder = f"<results>/{wildcards.dataset}/{wildcards.model}"
    names = ("enrichment", "annotation", "locations", "neighbors")
    return {name: path for name in names for path in made(f"{folder}/{{name}}.tsv", [name])}


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
    temporary = path.with_name(f".report.{os.getpid()}.zip")
    plugin = ReportPluginRegistry().get_plugin("html")
    try:
        made = auto_report(workflow.dag, plugin, ReportSettings(path=temporary), GlobalReportSettings())
        workflow.async_run(made)
        temporary.replace(path)
    except Exception as problem:
        logger.warning(f"{path} could not be written: {problem}")
    finally:
        temporary.unlink(missing_ok=True)
