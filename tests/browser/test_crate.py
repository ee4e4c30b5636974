"""The RO-Crate of a run is valid for an independent validator."""

import json
from pathlib import Path

import pytest
import rocrate
from rdflib.plugins.shared.jsonld import context
from rocrate_validator.models import Severity, ValidationSettings
from rocrate_validator.services import validate

from subcell.reporting.page.crate import write_crate

ROOT = Path(__file__).parents[2]
CONTEXTS = Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld"
PEOPLE = {
    "author": "A. Person",
    "orcid": "https://orcid.org/0000-0000-0000-0000",
    "organisation": "An Institute",
    "organisation_url": "https://example.org",
}
NEED_THE_NETWORK = ("ro-crate-1.1_3.1", "ro-crate-1.1_3.2")
"""Checks that the addresses of the contexts answer."""
PROGRAM_ELSEWHERE = "process-run-crate-0.5_5.1"
"""Recommends that a program be called by its address; ours is a file of the crate, which the profile of workflows demands."""


def shipped_context(address, *_):
    """What the validator would fetch: the terms of RO-Crate as the library ships them, with 1.1's name of a workflow."""
    if "/crate/" not in str(address):
        return {"@context": {}}, None
    terms = json.loads(CONTEXTS.read_text(encoding="utf-8"))
    terms["@context"]["ComputationalWorkflow"] = "https://bioschemas.org/ComputationalWorkflow"
    return terms, None


def crate(folder: Path) -> Path:
    for name in ("demo", "cards"):
        (folder / name).mkdir()
    made = ("report.html", "summary.tsv", "demo/quality.tsv", "cards/model_a.md")
    for name in made:
        (folder / name).write_text("x")
    write_crate(
        folder / "ro-crate-metadata.json",
        results=[folder / name for name in (*made, "not there.tsv")],
        workflow_files=[ROOT / "workflow" / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))],
        config_yaml="datasets: {}\n",
        datasets=[{"name": "demo", "simulated": True}],
        span=(1_000_000_000.0, 1_000_000_600.0),
        snakemake="9.27.1",
        address="https://example.org/subcell-workflow",
        people=PEOPLE,
    )
    return folder


@pytest.mark.parametrize("severity", [Severity.REQUIRED, Severity.RECOMMENDED])
def test_crate_meets_the_workflow_run_profile(tmp_path, monkeypatch, severity):
    settings = ValidationSettings(
        rocrate_uri=str(crate(tmp_path)),
        profile_identifier="workflow-run-crate-0.5",
        requirement_severity=severity,
        skip_checks=list(NEED_THE_NETWORK),
    )
    monkeypatch.setattr(context, "source_to_json", shipped_context)
    found = [(issue.check.identifier, issue.message) for issue in validate(settings).get_issues()]
    assert [issue for issue in found if issue[0] not in (*NEED_THE_NETWORK, PROGRAM_ELSEWHERE)] == []


def test_validator_sees_a_fault(tmp_path, monkeypatch):
    path = crate(tmp_path) / "ro-crate-metadata.json"
    graph = json.loads(path.read_text())
    for entity in graph["@graph"]:
        entity.pop("datePublished", None)
    path.write_text(json.dumps(graph))
    settings = ValidationSettings(
        rocrate_uri=str(tmp_path), profile_identifier="workflow-run-crate-0.5", requirement_severity=Severity.REQUIRED
    )
    monkeypatch.setattr(context, "source_to_json", shipped_context)
    assert any("datePublished" in issue.message for issue in validate(settings).get_issues())
