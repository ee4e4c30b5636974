"""What the report reads, and what follows a run. No rules here."""

import shlex
import shutil

if workflow.is_main_process:
    # For the report. Jobs inherit it, and no job runs again because another command asked for it.
    os.environ.update(SUBCELL_COMMAND=shlex.join(["snakemake", *sys.argv[1:]]))


def made(pattern, names):
    """Those paths of a pattern with {name} that this workflow makes; the report shows what is there."""
    paths = [pattern.replace("<results>", pathvar("results")).format(name=name) for name in names]
    return [path for path in paths if any(rule.is_producer(path) for rule in workflow.rules)]


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


def print_missing_scores():
    """After a run that failed on its way to the report: which scores it waits for, and how to have it without them."""
    if not workflow.dag or not any(job.rule.name == "report" for job in workflow.dag.jobs):
        return
    from subcell.reporting.provenance.missing import missing_scores

    def written(paths):
        return [path.replace("<results>", pathvar("results")) for path in paths]

    quality = collect("<results>/{dataset}/quality.tsv", dataset=image_datasets())
    vectors = per_pair("<results>/{dataset}/{model}/cells.h5ad", pairs())
    print(
        missing_scores(written(score_files("json")), vectors=written(vectors), qualities=written(quality)),
        file=sys.stderr,
    )


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
