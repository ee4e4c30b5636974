"""An RO-Crate of a run: what went in, what came out, and the workflow that did it, for people and archives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.model.file import File
from rocrate.rocrate import ROCrate

from subcell import __version__
from subcell.reporting.page.dataset_section import describe_source

PROFILES = (
    "https://w3id.org/ro/wfrun/process/0.5",
    "https://w3id.org/ro/wfrun/workflow/0.5",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
)
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
WORKFLOW_FOLDER = "report/workflow"
"""Where the workflow as it ran is kept, below the root of the crate."""

MEDIA_TYPES = {
    ".html": "text/html",
    ".tsv": "text/tab-separated-values",
    ".csv": "text/csv",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".h5ad": "application/x-hdf5",
    ".parquet": "application/vnd.apache.parquet",
    ".yaml": "application/yaml",
    ".txt": "text/plain",
    ".safetensors": "application/octet-stream",
    ".smk": "text/plain",
    ".md": "text/markdown",
    "": "text/plain",
}
COMPUTATIONAL_WORKFLOW = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
MIT = "https://spdx.org/licenses/MIT"
NOBODY = "whoever ran the workflow (not named: `crate.author` of the configuration)"
README = """Open `report.html` first; `summary.tsv` has all scores. `report/workflow` holds the workflow as it ran with its
configuration, `ro-crate-metadata.json` says what was made from what.
"""


def write_crate(
    out_json: str | Path,
    *,
    results: Sequence[str | Path],
    workflow_files: Sequence[str | Path],
    config_yaml: str,
    datasets: Sequence[Mapping[str, Any]],
    span: tuple[float, float] | None,
    snakemake: str,
    address: str = "",
    people: Mapping[str, str | None] | None = None,
) -> None:
    """Write ro-crate-metadata.json after the Workflow Run Crate profile; its folder, the root of the crate, gets a README.md.

    Parameters
    ----------
    out_json : file to write, named ro-crate-metadata.json
    results : files that the run made; those outside the root or that are not there are left out
    workflow_files : Snakefile and rules, the Snakefile first; they are copied to `WORKFLOW_FOLDER`
    config_yaml : the configuration, defaults included; becomes config.yaml beside the workflow
    datasets : of each: name, simulated, source_json where there is one, and cells_h5ad of a dataset of vectors
    span : when the first job began and the last one ended, in seconds since 1970
    snakemake : version that ran the workflow; the environment of the report need not have it
    address : of the workflow's repository, where it is known
    people : author, orcid, organisation and organisation_url, as far as they are given
    """
    root = Path(out_json).parent
    folder = root / WORKFLOW_FOLDER
    copied = _copy_workflow(folder, workflow_files, config_yaml)
    ended = datetime.fromtimestamp(span[1] if span else 0, UTC)
    simulated = bool(datasets) and all(dataset["simulated"] for dataset in datasets)

    crate = ROCrate(gen_preview=False, version="1.1")
    name = ", ".join(dataset["name"] for dataset in datasets)
    crate.name = f"subcell-workflow: {name}"
    crate.description = (
        "Results of subcell-workflow: cells embedded, proteins mapped and models scored."
        f"{' All images are simulated: the scores test the workflow and say nothing of biology.' if simulated else ''}"
    )
    crate.datePublished = ended
    _context(crate, MIT, "CreativeWork", name="MIT License", url=MIT)
    # Pictures of somebody's images are among the results, and it is not ours to license them.
    licences = "; ".join(f"{dataset['name']}: {_source(dataset)['licence']}" for dataset in datasets)
    crate.license = _context(
        crate, "#licence", "CreativeWork", name="Results are licensed as what they were made from", description=licences
    )
    crate.root_dataset["conformsTo"] = [
        _context(crate, uri, "CreativeWork", name=uri.split("/", 4)[-1]) for uri in PROFILES
    ]
    crate.metadata.extra_contexts.append(TERMS)
    _context(crate, COMPUTATIONAL_WORKFLOW, "CreativeWork", name="ComputationalWorkflow profile", version="1.0-RELEASE")

    main = crate.add_workflow(copied[0], copied[0].relative_to(root).as_posix(), main=True, lang="snakemake",
                              lang_version=snakemake, gen_cwl=False)  # fmt: skip
    main.properties().update(name="subcell-workflow", version=__version__, license={"@id": MIT})
    if address:
        main["url"] = address
    _describe_references(crate, main["programmingLanguage"])
    main.properties().update(encodingFormat=MEDIA_TYPES[".smk"], conformsTo={"@id": COMPUTATIONAL_WORKFLOW})
    parts = [_file(crate, path, root) for path in copied[1:]]
    main["hasPart"] = [part for part in parts if part.id.endswith(".smk")]
    settings = next(part for part in parts if part.id.endswith("config.yaml"))
    settings["name"] = "Configuration of the run, defaults included"

    told = f"# {crate.name}\n\n{crate.description}\n\n{README}\n## Licences\n\n{licences}\n"
    (root / "README.md").write_text(told, encoding="utf-8")
    _file(crate, root / "README.md", root)["about"] = crate.root_dataset
    made = [_file(crate, Path(path), root) for path in results if Path(path).is_file() and root in Path(path).parents]
    inputs = [_dataset(crate, dataset) for dataset in datasets]
    action = {
        "name": f"Run of subcell-workflow {__version__}",
        "description": f"The jobs of {name}, from their inputs to this report",
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }
    if span:
        action |= {"startTime": datetime.fromtimestamp(span[0], UTC).isoformat(timespec="seconds"),
                   "endTime": ended.isoformat(timespec="seconds")}  # fmt: skip
    run = crate.add_action(main, identifier="#run", object=[settings, *inputs], result=made, properties=action)
    run["agent"] = crate.root_dataset["author"] = _author(crate, people or {})
    crate.root_dataset["mentions"] = run
    crate.metadata.write(root)


def _author(crate: ROCrate, people: Mapping[str, str | None]) -> ContextEntity:
    """Who ran the workflow; their institute, where one is given, publishes the results."""
    about: dict[str, Any] = {"name": people.get("author") or NOBODY}
    if people.get("organisation"):
        url = people.get("organisation_url")
        institute = _context(
            crate, url or "#organisation", "Organization", name=people["organisation"], **({"url": url} if url else {})
        )
        crate.root_dataset["publisher"] = about["affiliation"] = institute
    return _context(crate, people.get("orcid") or "#author", "Person", **about)


def _describe_references(crate: ROCrate, language: ContextEntity) -> None:
    """Make entities of what the description of the workflow's language refers to."""
    for key, kind in (("identifier", "ScholarlyArticle"), ("url", "WebSite")):
        target = language.properties().get(key)
        if isinstance(target, Mapping) and crate.get(target["@id"]) is None:
            _context(crate, target["@id"], kind, name=f"Snakemake, {key}", url=target["@id"])


def _copy_workflow(folder: Path, workflow_files: Sequence[str | Path], config_yaml: str) -> list[Path]:
    """Copy of the workflow, rules in a folder of that name, and its configuration beside it."""
    copied = []
    for path in map(Path, workflow_files):
        place = folder / ("rules" if path.suffix == ".smk" else "") / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        copied.append(place)
    (folder / "config.yaml").write_text(config_yaml, encoding="utf-8")
    return [*copied, folder / "config.yaml"]


def _file(crate: ROCrate, path: Path, root: Path) -> File:
    place = path.relative_to(root).as_posix()
    about = {"name": place, "contentSize": str(os.path.getsize(path))}
    if path.suffix in MEDIA_TYPES:
        about["encodingFormat"] = MEDIA_TYPES[path.suffix]
    return crate.add_file(path, place, properties=about)


def _dataset(crate: ROCrate, dataset: Mapping[str, Any]) -> ContextEntity:
    """What a dataset began with, as far as its source is known; it is no part of the crate."""
    source, what = _source(dataset), "Vectors" if "cells_h5ad" in dataset else "Images"
    about = {
        "name": f"{what} of {dataset['name']}",
        "description": "simulated"
        if dataset["simulated"]
        else source.get("attribution", f"{what.lower()} of the user"),
        **{key: source[given] for key, given in (("version", "release"), ("license", "licence")) if source.get(given)},
    }
    if str(source.get("url", "")).startswith(("https://", "http://")):
        about["url"] = source["url"]
    return _context(crate, f"#{what.lower()}-{dataset['name']}", "CreativeWork", **about)


def _source(dataset: Mapping[str, Any]) -> dict[str, str]:
    return describe_source(dataset.get("source_json"), {}, simulated=dataset["simulated"])


def _context(crate: ROCrate, identifier: str, kind: str, **about: Any) -> ContextEntity:
    return crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **about}))
