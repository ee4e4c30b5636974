"""What the report says of a run: quality of fields, files, time, software, ranks, the crate."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report_example as example

from subcell.config.suite import SUITE
from subcell.imaging.ledger import ledger_table
from subcell.reporting.page.crate import MIT, NOBODY, WORKFLOW_FOLDER, write_crate
from subcell.reporting.page.dataset_section import describe_source, readable_bytes
from subcell.reporting.provenance import runtime
from subcell.reporting.provenance.software import address_of, cited, commit_of, read_environments, software_table
from subcell.reporting.quality.field_quality import downloads_table, field_quality_table

RULES = Path(__file__).parents[2] / "workflow" / "rules"


def test_a_blurred_field_stands_out_among_its_line():
    fields = example.example_fields([f"f{i}" for i in range(24)], cell_line=["A"] * 12 + ["B"] * 12)
    qc = pd.DataFrame({"field_id": fields["field_id"], "status": "ok", "cells": [9, 10, 11] * 8})
    qc["focus"] = [0.5, 0.51, 0.52] * 4 + [0.1, 0.11, 0.12] * 4  # the lines differ, and that is no fault
    qc.loc[5, "focus"] = 0.1
    qc.loc[7, "focus"] = 0.9  # sharper than the others is no fault either
    qc.loc[20, "cells"] = 90
    table = field_quality_table(qc, fields).set_index("field_id")
    assert table.loc["f5", "unusual"] == "focus of the dna channel"
    assert table.loc["f20", "unusual"] == "cells a field"
    assert (table["unusual"] != "").sum() == 2


def test_a_saturated_field_stands_out_among_unsaturated_ones():
    fields = example.example_fields([f"f{i}" for i in range(12)], cell_line=["A"] * 12)
    qc = pd.DataFrame({"field_id": fields["field_id"], "status": "ok", "saturated_fraction": 0.0})
    qc.loc[[3, 4], "saturated_fraction"] = 0.4, 1e-4
    unusual = field_quality_table(qc, fields).set_index("field_id")["unusual"]
    assert unusual[unusual != ""].to_dict() == {"f3": "saturated pixels"}


def test_a_field_of_another_pixel_size_is_one_to_look_at():
    fields = example.example_fields([f"f{i}" for i in range(12)], cell_line=["A"] * 12)
    qc = pd.DataFrame({"field_id": fields["field_id"], "status": "ok", "cells": 10, "touching_border": 3})
    qc["nucleus_diameter_um"] = [14.0, 15.0, 13.0] * 4
    qc.loc[4, "nucleus_diameter_um"] = 21.0
    qc.loc[5, "pixel_size_warning"] = "nuclei are 7.0 um wide"
    table = field_quality_table(qc, fields).set_index("field_id")
    assert table["unusual"][table["unusual"] != ""].to_dict() == {"f4": "pixel size", "f5": "pixel size"}
    assert table.loc["f5", "pixel_size_warning"] == "nuclei are 7.0 um wide"
    assert "21.0 um wide, 1.5 times those of A" in table.loc["f4", "pixel_size_warning"]


def test_few_fields_are_not_compared():
    fields = example.example_fields(["a", "b", "c"])
    qc = pd.DataFrame({"field_id": ["a", "b", "c"], "status": ["ok", "ok", "set aside"], "cells": [1, 100, 0]})
    assert (field_quality_table(qc, fields)["unusual"] == "").all()


def test_ledgers_in_sum():
    rows = [
        {
            "field_id": "a",
            "channel": "nucleus",
            "url": "https://images.example.org/a.png",
            "bytes": 10,
            "tries": 1,
            "status": "ok",
        },
        {
            "field_id": "b",
            "channel": "nucleus",
            "url": "https://images.example.org/b.png",
            "bytes": 20,
            "tries": 3,
            "status": "ok",
        },
        {"field_id": "c", "channel": "nucleus", "url": "/home/c.png", "status": "set aside", "reason": "truncated"},
    ]
    table = downloads_table([ledger_table(rows[:2]), ledger_table(rows[2:]), ledger_table()])
    assert table[["host", "status", "files", "bytes", "retried"]].to_numpy().tolist() == [
        ["", "set aside", 1, 0, 0],
        ["images.example.org", "ok", 2, 30, 1],
    ]
    assert readable_bytes(999) == "999 B"
    assert readable_bytes(110_500_000) == "110.5 MB"


def test_time_of_steps_and_what_more_fields_would_take(tmp_path):
    jobs = runtime.read_jobs(example.write_logs(tmp_path))
    assert set(jobs["step"]) == {"segment", "embed", "catalog", "train"}
    steps = {entry["step"]: entry for entry in runtime.summarise_jobs(jobs)}
    assert steps["segment"]["jobs"] == 2
    assert steps["segment"]["seconds"] == 20
    assert runtime.totals(list(steps.values())) == {"seconds": 50, "cpu_seconds": 32, "max_rss_mb": 500}
    projected = {entry["step"]: entry for entry in runtime.project(jobs, {"demo": 40})}
    assert set(projected) == {"segment", "embed, random_vit"}
    assert projected["segment"]["ms_a_field"] == 500
    assert projected["segment"]["seconds"] == [500, 5_000, 50_000]
    begin, end = runtime.span_of(jobs)
    assert end - begin == pytest.approx(10, abs=5)
    assert runtime.read_jobs(tmp_path / "none").empty


def test_time_of_a_score_is_that_of_the_job_that_scored():
    """The report finds the job by the name of its log, so no other job may have the name of a benchmark."""
    rules = [
        text for path in RULES.glob("*.smk") for text in re.split(r"^(?:use )?rule ", path.read_text(), flags=re.M)[1:]
    ]
    logged = {}
    for rule in rules:
        scores = re.search(r"/\{model\}/benchmarks/([^/]+)\.json\"", rule)
        log = re.search(r"<logs>/\{dataset\}/\{model\}/([^/]+)\.benchmark\.jsonl", rule)
        if log:
            logged[log[1]] = scores and scores[1]
    scored = {name: made for name, made in logged.items() if made or name in SUITE}
    assert {*SUITE} - {"segmentation"} <= {*scored}
    assert scored == {name: name for name in scored}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.84, "0.8 s"), (45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (90_000, "1 d 1 h"), (None, "–")],
)
def test_durations(seconds, text):
    assert runtime.duration(seconds) == text


def test_versions_of_all_environments(tmp_path):
    (tmp_path / "a.yaml").write_text("dependencies: [python =3.11, pip, {pip: [numpy==1.0, Foo_Bar==2.1]}]")
    (tmp_path / "b.yaml").write_text("dependencies: [{pip: [numpy==1.1]}]")
    paths = sorted(tmp_path.glob("*.yaml"))
    assert read_environments(paths) == {"foo-bar": {"a": "2.1"}, "numpy": {"a": "1.0", "b": "1.1"}}
    rows = {row["name"]: row for row in software_table(paths)}
    assert rows["numpy"]["version"] == "1.0, 1.1"
    assert rows["numpy"]["installed"] == np.__version__
    assert "BSD" in rows["numpy"]["licence"]
    assert rows["foo-bar"]["installed"] == ""


def test_what_is_cited_was_used():
    assert list(cited({"models": {}, "segmentation": {"model": "cpsam_v2"}}, from_hpa=False, segmented=True)) == [
        "cellpose-sam",
        "snakemake",
    ]
    for model, cites in (
        ("cpsam", "cellpose-sam"),
        ("my/cellpose_model", "cellpose-sam"),
        ("my.safetensors", "cellpose"),
    ):
        assert list(cited({"segmentation": {"model": model}}, from_hpa=False, segmented=True)) == [cites, "snakemake"]
    both = {"segmentation": {"model": "compact", "compare_with": "cpsam_v2"}}
    assert list(cited(both, from_hpa=False, segmented=True)) == ["cellpose", "cellpose-sam", "snakemake"]
    all_of_it = cited({"models": {"a": {"kind": "subcell"}}, "map": {"unit": "gene"}}, from_hpa=True, segmented=True)
    assert [entry["number"] for entry in all_of_it.values()] == [1, 2, 3, 4, 5, 6]
    assert next(iter(all_of_it)) == "subcell"
    vectors = {"models": {"a": {"kind": "imported"}}, "map": {"unit": "gene", "method": "paper", "batches": ["plate"]}}
    assert set(cited(vectors, from_hpa=False, segmented=False)) == {"subcell", "leiden", "umap", "snakemake", "harmony"}
    network = {"models": {"a": {"kind": "dino4cells"}}, "datasets": {"d": {"camera": {"flat_field": True}}}}
    assert list(cited(network, from_hpa=False, segmented=False)) == ["snakemake", "basic", "dino4cells"]


def test_source_of_images(tmp_path):
    path = tmp_path / "source.json"
    path.write_text(
        json.dumps({"release": "v24", "licence": "CC BY-SA 4.0", "attribution": "<b>HPA</b>", "secret": "x"})
    )
    assert describe_source(path, {}, simulated=False) == {
        "licence": "CC BY-SA 4.0", "release": "v24", "attribution": "<b>HPA</b>",
    }  # fmt: skip
    assert describe_source(None, {"seed": 3}, simulated=True)["release"] == "simulated with seed 3"
    assert "not given" in describe_source(None, {}, simulated=False)["licence"]


def test_crate_names_what_went_in_and_what_came_out(tmp_path):
    (tmp_path / "report.html").write_text("x")
    (tmp_path / "Snakefile").write_text("rule all:")
    (tmp_path / "source.json").write_text(json.dumps({"licence": "CC BY-SA 4.0", "url": "javascript:alert(1)"}))
    datasets = [{"name": "fields", "simulated": False, "source_json": tmp_path / "source.json"}]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.tsv").write_text("y")
    write_crate(
        tmp_path / "out" / "ro-crate-metadata.json",
        results=[tmp_path / "out" / "summary.tsv", tmp_path / "report.html"],
        workflow_files=[tmp_path / "Snakefile"], config_yaml="a: 1\n", datasets=datasets, span=(0.0, 60.0), snakemake="9.27.1",
        address="https://example.org/w",
        people={"author": "A", "orcid": None, "organisation": "B", "organisation_url": "https://b.org"},
    )  # fmt: skip
    graph = {
        entry["@id"]: entry for entry in json.loads((tmp_path / "out" / "ro-crate-metadata.json").read_text())["@graph"]
    }
    run = graph["#run"]
    assert run["result"] == [{"@id": "summary.tsv"}]  # what lies outside the crate is no part of it
    assert (run["startTime"], run["endTime"]) == ("1970-01-01T00:00:00+00:00", "1970-01-01T00:01:00+00:00")
    assert graph["#images-fields"]["license"] == "CC BY-SA 4.0"
    assert "url" not in graph["#images-fields"]
    assert (tmp_path / "out" / WORKFLOW_FOLDER / "config.yaml").read_text() == "a: 1\n"
    assert graph["./"]["mainEntity"] == {"@id": f"{WORKFLOW_FOLDER}/Snakefile"}
    assert graph[f"{WORKFLOW_FOLDER}/Snakefile"]["license"] == {"@id": MIT}
    assert graph[f"{WORKFLOW_FOLDER}/Snakefile"]["url"] == "https://example.org/w"
    assert run["agent"] == graph["./"]["author"] == {"@id": "#author"}
    assert graph["#author"]["name"] == "A"
    assert graph["#author"]["affiliation"] == graph["./"]["publisher"] == {"@id": "https://b.org"}
    assert graph["README.md"]["about"] == {"@id": "./"}
    assert graph["README.md"]["encodingFormat"] == "text/markdown"
    assert "fields: CC BY-SA 4.0" in (tmp_path / "out" / "README.md").read_text()
    known = {*graph, "https://w3id.org/ro/crate/1.1"}
    assert [target for entry in graph.values() for target in references(entry) if target not in known] == []


def references(value):
    """Addresses of the entities that a value refers to."""
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            return [value["@id"]]
        return [target for part in value.values() for target in references(part)]
    return [target for part in value for target in references(part)] if isinstance(value, list) else []


@pytest.mark.parametrize(
    ("dataset", "said", "licence"),
    [
        ({"simulated": False, "cells_h5ad": "cells.h5ad"}, False, "d: not given; ask whoever made them"),
        ({"simulated": True}, True, "d: none: made by this run"),
        (None, False, ""),
    ],
)
def test_crate_calls_simulated_what_is_and_licenses_only_what_is_ours(tmp_path, dataset, said, licence):
    (tmp_path / "Snakefile").write_text("rule all:")
    (tmp_path / "out").mkdir()
    write_crate(
        tmp_path / "out" / "ro-crate-metadata.json", results=[], workflow_files=[tmp_path / "Snakefile"], config_yaml="",
        datasets=[{"name": "d", **dataset}] if dataset else [], span=None, snakemake="9.27.1",
    )  # fmt: skip
    found = json.loads((tmp_path / "out" / "ro-crate-metadata.json").read_text())["@graph"]
    graph = {entry["@id"]: entry for entry in found}
    assert ("simulated" in graph["./"]["description"]) == said
    assert graph["#author"]["name"] == NOBODY
    assert "publisher" not in graph["./"]
    assert graph["./"]["license"] == {"@id": "#licence"}
    assert graph["#licence"]["description"] == licence
    assert ("#vectors-d" in graph) == (dataset is not None and "cells_h5ad" in dataset)


def test_the_commit_is_that_of_the_workflow_s_own_repository(tmp_path):
    def git(*arguments):
        author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", tmp_path, *author, *arguments], check=True, capture_output=True)

    assert commit_of(tmp_path) == ""
    git("init")
    (tmp_path / "Snakefile").write_text("rule all:")
    git("add", "Snakefile")
    git("commit", "-m", "first")
    git("tag", "v1")
    assert commit_of(tmp_path) == "v1"
    (tmp_path / "Snakefile").write_text("rule other:")
    assert commit_of(tmp_path) == "v1-dirty"
    for remote, address in (
        ("https://user:secret@example.org/a/b.git", "https://example.org/a/b"),
        ("/somewhere/b.git", ""),
        ("git@example.org:a/b.git", ""),
    ):
        git("config", "remote.origin.url", remote)
        assert address_of(tmp_path) == address
    (tmp_path / "copy").mkdir()
    assert commit_of(tmp_path / "copy") == ""
