"""The workflow as a user meets it: dry run, lint, wrong input, and one real run of everything at its smallest."""

import json
import os
import re
import shutil
import zipfile
from urllib.parse import unquote

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import run


def test_dry_run_of_the_demo_shows_every_job(project):
    code, text = run("-n", "--quiet", cwd=project)
    assert code == 0, text
    code, text = run("-n", cwd=project)
    assert "Training subcell_pretrained" in text
    assert "Writing the report" in text


def test_released_weights_and_vectors_from_elsewhere_have_their_own_ways(project, tmp_path):
    vectors = tmp_path / "vectors.h5ad"
    vectors.touch()
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
datasets:
  demo: {{source: simulate, shards: 2}}
  paper: {{source: embeddings, file: {vectors}, model: released}}
crops: {{field_um: 51.25664, pixels: 640}}
models:
  subcell: {{kind: subcell, released: auto, recipe: vit-prots-pool}}
"""
    )
    code, text = run("-n", "--configfile", config, cwd=project)
    assert code == 0, text
    assert "Importing the vectors of paper" in text
    assert "Mapping paper as released sees it" in text
    assert "Fetching the weights of ER-DNA-Protein_ViT-ProtS-Pool" in text
    assert "Looking where subcell looks in demo" in text
    assert "Locations in demo as subcell says them" in text
    assert "Listing the fields of paper" not in text
    assert "with released" not in text
    code, text = run("-n", "check_released", "--configfile", config, cwd=project)
    assert "check_released.table: name the released h5ad of vectors" in text


def test_published_crops_and_lists_are_checked_too(project, tmp_path):
    """Of crops that come ready the split is checked, and which genes a released network was trained on is read."""
    for side in ("train", "valid", "test"):
        (tmp_path / f"{side}_antibodies.txt").write_text(f"HPA-{side}\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
datasets:
  crops: {{source: subcell_crops, split: {{by: paper, lists: {tmp_path}}}}}
  away: {{source: simulate}}
models: {{vit: {{kind: subcell, recipe: vit-prots-pool, train_on: [crops]}}}}
map: {{models: []}}
"""
    )
    code, text = run("-n", "--configfile", config, cwd=project)
    assert code == 0, text
    assert "Checking the split of crops" in text
    asked = next(part for part in text.split("[") if "Checking the split of away" in part)
    assert "results/crops/images/0000" in asked
    localization = next(part for part in text.split("[") if "Scoring localization of crops by vit" in part)
    assert "results/crops/release.parquet" in localization


def test_a_task_and_a_test_set_of_the_users_are_planned(project, tmp_path):
    (tmp_path / "task.py").write_text("def run(cells, **_): ...")
    labels = tmp_path / "labels.csv"
    labels.touch()
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
datasets:
  home: {{source: simulate}}
  away: {{source: simulate, seed: 2, benchmarks: [localization]}}
models: {{shortcuts: {{kind: shortcuts}}}}
map: {{models: []}}
own_tasks: {{mine: {{file: {tmp_path}/task.py}}}}
benchmarks: [mine]
scoring: {{test_sets: {{away: {{train_on: home, cell_labels: {labels}}}}}}}
"""
    )
    code, text = run("-n", "--configfile", config, cwd=project)
    assert code == 0, text
    assert "Scoring mine of home by shortcuts" in text
    assert "Scoring the controls of mine on home" in text
    assert "Scoring mine of away" not in text
    localization = next(part for part in text.split("[") if "Scoring localization of away by shortcuts" in part)
    assert str(labels) in localization or "results/home/shortcuts/cells.h5ad" in localization


def test_what_networks_have_seen_is_known_where_every_part_is_scored(project, tmp_path):
    """One network learned from two datasets, and is scored a second time as the checkpoint of another model."""
    seen, config = tmp_path / "seen.txt", tmp_path / "config.yaml"
    kept = project / "results/.state/vit/step_5.safetensors"
    kept.parent.mkdir(parents=True)
    kept.touch()
    config.write_text(
        f"""
datasets:
  one: {{source: simulate, benchmarks: [localization]}}
  two: {{source: simulate, seed: 2, benchmarks: [external]}}
  away: {{source: simulate, seed: 3, benchmarks: [localization]}}
  early: {{source: simulate, seed: 4, benchmarks: [localization]}}
models:
  vit: {{kind: subcell, recipe: vit-prots, train_on: [one, two], evaluate_on: [two, away]}}
  again: {{kind: subcell, checkpoint: results/models/vit/checkpoint.safetensors, evaluate_on: [two]}}
  early: {{kind: subcell, checkpoint: ./results/.state/vit/step_5.safetensors, evaluate_on: [early]}}
  shortcuts: {{kind: shortcuts, evaluate_on: [away]}}
map: {{models: []}}
scoring: {{test_sets: {{away: {{train_on: one, seen_antibodies: [{seen}]}}, early: {{train_on: away}}}}}}
"""
    )
    code, text = run("-n", "results/away/vit/benchmarks/localization.json", "--configfile", config, cwd=project)
    assert code != 0
    assert str(seen) in text
    seen.touch()
    code, text = run("-n", "--configfile", config, cwd=project)
    assert code == 0, text
    for job in (
        "Scoring vit on two, trained elsewhere",
        "Scoring again on two, trained elsewhere",
        "Scoring the controls of external on two",
        "Scoring localization of away by vit",
        # All models are scored on the same cells.
        "Scoring localization of away by shortcuts",
        # What its network has seen, though nothing else is scored there.
        "Scoring localization of early by early",
    ):
        (asked,) = (part for part in text.split("[") if f"{job}\n" in part)
        for other in ("one", "two"):
            assert f"results/{other}/fields/0000.parquet" in asked, (job, other)
    # Home is scored too, by networks that are asked for elsewhere only.
    for dataset, other in (("one", "two"), ("two", "one"), ("away", "one")):
        (asked,) = (part for part in text.split("[") if f"Checking the split of {dataset}\n" in part)
        assert f"results/{other}/images/0000" in asked, dataset
    kept.unlink()


@pytest.mark.parametrize(
    ("config", "columns", "expected"),
    [
        ("opencell", "nucleus,protein,gene,locations", ["Scoring localization of opencell by subcell"]),
        (
            "jump-pilot",
            "nucleus,er,mito,agp,rna,plate,well,compound,control",
            [
                "Importing the vectors of jump",
                "Scoring perturbations of jump by subcell_three_stains",
                "Scoring perturbations of jump_mito by random_vit",
                "Drawing the plates of jump as subcell_three_stains sees them",
            ],
        ),
        ("bridge2ai", "treatment,gene,locations", ["Scoring cell lines of cm4ai by subcell"]),
    ],
)
def test_images_from_elsewhere_go_all_the_way_to_their_task(project, config, columns, expected):
    settings = yaml.safe_load((project / "config" / f"{config}.yaml").read_text())
    sheets = {block["sheet"] for block in settings["datasets"].values() if "sheet" in block}
    for sheet in sheets:
        (project / sheet).parent.mkdir(exist_ok=True)
        names = ["field_id", *columns.split(",")]
        (project / sheet).write_text(",".join(names) + "\n" + ",".join(f"{name}1" for name in names) + "\n")
    code, text = run("-n", "--configfile", f"config/{config}.yaml", cwd=project)
    assert code == 0, text
    for line in expected:
        assert line in text


def test_lint_is_clean(project):
    code, text = run("--lint", cwd=project)
    assert code == 0, text


def test_wrong_configuration_is_one_message(project):
    code, text = run("-n", "--config", "mapp={}", "threads=many", cwd=project)
    assert code != 0
    assert "mapp: unknown key; did you mean `map`?" in text
    assert "threads: input should be a valid integer" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_the_smallest_run_is_complete_and_resumes(project):
    config = ["--configfile", "config/test.yaml"]
    code, text = run("--cores", 2, *config, cwd=project)
    assert code == 0, text
    results = project / "results" / "test"
    summary = pd.read_csv(results / "summary.tsv", sep="\t")
    assert list(summary) == [
        "dataset", "model", "benchmark", "metric", "value", "low", "high", "chance", "n", "seeds", "simulated",
        "simulator",
    ]  # fmt: skip
    assert set(summary["dataset"]) == {"tiny", "other", "drugs"}
    assert {"vit_prots_pool", "random_vit", "shortcuts", "compact", "perfect_features"} <= set(summary["model"])
    board = pd.read_parquet(results / "scores.parquet")
    assert set(board["role"]) == {"model", "shortcut", "control", "dataset"}
    assert (results / "seeds.tsv").read_text().count("\n") == 1, "no model of the smallest run has several seeds"
    assert (results / "cards" / "model_random_vit.md").is_file()
    noted = pd.read_csv(results / "tiny" / "test_scored.tsv", sep="\t")
    assert set(noted["model"]) == {"vit_prots_pool", "random_vit", "shortcuts"}
    assert {"localization", "attention", "robustness"} <= set(noted["benchmark"])
    assert not pd.read_csv(results / "tiny" / "leakage.tsv", sep="\t")["on_both_sides"].any()
    assert summary["simulated"].all()
    scores = summary.dropna(subset="value")
    assert scores["value"].between(-1, 100).all()
    report = (results / "report.html").read_text()
    assert "imulated" in report
    assert 'class="map-data"' in report
    assert "Command: <code>snakemake --cores 2 --configfile config/test.yaml</code>" in report
    with zipfile.ZipFile(results / "report.zip") as made:
        assert "report/report.html" in made.namelist()
    crate = json.loads((results / "ro-crate-metadata.json").read_text())
    files = [entry["@id"] for entry in crate["@graph"] if "File" in entry["@type"]]
    assert "report.html" in files
    assert [name for name in files if not (results / unquote(name)).is_file()] == []

    code, text = run("-n", *config, cwd=project)
    assert "Nothing to be done" in text

    shutil.rmtree(results / "tiny" / "images" / "0001")
    (results / "tiny" / "cells" / "0001.parquet").unlink()
    before = (results / "tiny" / "random_vit" / "cells.h5ad").read_bytes()
    code, text = run("--cores", 2, *config, cwd=project)
    assert code == 0, text
    assert (results / "tiny" / "random_vit" / "cells.h5ad").read_bytes() == before

    code, text = run("--cores", 1, *config, "--report", "x.html", cwd=project)
    assert code == 0, text
    assert (project / "x.html").stat().st_size > 100_000


@pytest.mark.slow
def test_vectors_from_elsewhere_end_in_a_report(project, tmp_path):
    rng = np.random.default_rng(0)
    places = ["Nucleoplasm", "Cytosol", "Mitochondria", "Nucleoli"]
    cells = pd.DataFrame({"protein": np.repeat([f"G{gene}" for gene in range(40)], 6)})
    cells["locations"] = [places[int(name[1:]) % 4] for name in cells["protein"]]
    cells["cell_line"] = ["U2OS", "HeLa"] * 120
    centres = pd.DataFrame(rng.normal(0, 1, (4, 8)), places).loc[cells["locations"]]
    vectors = (centres.to_numpy() + rng.normal(0, 1, (240, 8))).astype("float32")
    anndata.AnnData(X=vectors, obs=cells.set_index(cells.index.astype(str))).write_h5ad(tmp_path / "cells.h5ad")
    settings = yaml.safe_load((project / "config" / "embeddings.yaml").read_text())
    settings["datasets"]["cells"] |= {"file": str(tmp_path / "cells.h5ad"), "columns": {"gene": "protein"}}
    settings |= {
        "benchmarks": ["localization"],
        "map": {"seeds": 1, "bootstraps": 0, "curve": 0, "enrichment": {"shuffles": 0}},
        "scoring": {"head_seeds": 1, "bootstraps": 100, "min_test_antibodies": 1, "controls": False},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    code, text = run("--cores", 2, "--configfile", tmp_path / "config.yaml", cwd=project)
    assert code == 0, text
    results = project / "results" / "embeddings"
    report = (results / "report.html").read_text()
    assert "<h1>cells</h1>" in report
    assert 'aria-label="Scores on cells"' in report
    assert "240 cells, 40 genes and 2 cell lines" in report
    assert 'class="map-data"' in report
    assert json.loads((results / "cells" / "subcell" / "explorer.json").read_text())["pictures"] is None


@pytest.fixture
def sheet(tmp_path):
    """A sheet of real files: two good fields, and one of each kind of bad one."""
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256]

    def save(name, size=256):
        nuclei = sum(np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 400) for cy, cx in rng.uniform(50, 200, (4, 2)))
        image = np.clip(220 * nuclei + rng.normal(5, 3, nuclei.shape), 0, 255).astype("uint8")
        Image.fromarray(image).resize((size, size)).save(tmp_path / name)

    rows = []
    for field in ("good", "<img src=x onerror=alert(1)>", "ünïcode", "truncated", "unequal", "one", "wall"):
        stem = f"f{len(rows)}"
        for color in ("blue", "red", "yellow", "green"):
            save(f"{stem}_{color}.png", size=1 if field == "one" else 256)
        rows.append({"field_id": field, "pixel_size_um": 0.32} | {c: f"{stem}_{c}.png" for c in
                    ("blue", "red", "yellow", "green")})  # fmt: skip
    (tmp_path / "f3_red.png").write_bytes((tmp_path / "f3_red.png").read_bytes()[:2000])
    save("f4_green.png", size=128)
    Image.fromarray(np.full((256, 256), 7, "uint8")).save(tmp_path / "f6_blue.png")
    rows.append(rows[0] | {"field_id": "missing", "blue": "nowhere.png"})
    rows.append(rows[0] | {"field_id": "outside", "blue": "../../etc/passwd"})
    rows.append(rows[0] | {"field_id": "no pixel size", "pixel_size_um": ""})
    path = tmp_path / "fields.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_bad_fields_are_set_aside_and_the_others_go_on(project, sheet):
    arguments = [
        "--configfile",
        "config/images.yaml",
        "--config",
        f'datasets={{fields: {{sheet: "{sheet}", shards: 1}}}}',
    ]
    code, text = run("--cores", 2, *arguments, cwd=project)
    assert code == 0, text
    results = project / "results" / "real"
    aside = pd.read_csv(results / "fields" / "set_aside.tsv", sep="\t", keep_default_na=False)
    reasons = dict(zip(aside["field_id"], aside["reason"], strict=True))
    assert set(reasons) == {"truncated", "unequal", "one", "missing", "outside", "no pixel size", "wall"}, reasons
    report = (results / "report.html").read_text()
    assert "<img src=x onerror" not in report
    assert "not run" in report.lower()
    for field in reasons:
        assert field in report


def test_a_sheet_with_nothing_usable_ends_with_one_clear_line(project, tmp_path):
    sheet = tmp_path / "empty.csv"
    pd.DataFrame([{"field_id": "a", "pixel_size_um": 0.1, "blue": "nowhere.png"}]).to_csv(sheet, index=False)
    arguments = ["--configfile", "config/images.yaml", "--config", f'datasets={{fields: {{sheet: "{sheet}"}}}}',
                 'pathvars={results: "results/empty", logs: "logs/empty"}']  # fmt: skip
    code, text = run("--cores", 1, *arguments, cwd=project)
    assert code != 0
    assert "none of 1 fields can be used" in text
    assert "Traceback" not in text
    assert "No report yet: it needs every score" in text
    assert "results/empty/fields/" in text.split("No report yet")[1]
    assert "no benchmark is what fails" in text


def test_a_sheet_that_is_not_there_is_named(project):
    arguments = ["--configfile", "config/images.yaml", "--config", "datasets={fields: {sheet: nowhere.csv}}"]
    code, text = run("-n", *arguments, cwd=project)
    assert code != 0
    assert "nowhere.csv" in text


def test_other_labels_tune_the_segmentation_anew(project, tmp_path):
    (tmp_path / "labelled.csv").write_text(
        "field_id,pixel_size_um,nucleus,reference_cells\nf0,0.1,nuclei.png,cells.png\nf1,0.1,nuclei.png,lost.png\n"
    )
    for name in ("nuclei.png", "cells.png"):
        (tmp_path / name).write_bytes(b"")
    for path in (tmp_path / "labelled.csv", tmp_path / "nuclei.png"):
        os.utime(path, (path.stat().st_mtime - 600,) * 2)
    made = "results/real/fine_tuned/compact.safetensors"
    weights = tmp_path / made
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "pathvars": {"results": "results/real"},
                "datasets": {"mine": {"source": "simulate"}},
                "fine_tune": {"sheet": "labelled.csv"},
                "segmentation": {"model": "fine_tuned"},
            }
        )
    )
    arguments = ("-n", "--configfile", tmp_path / "config.yaml", "-d", tmp_path)
    code, text = run(*arguments, "results/real/mine/masks/0000.zarr", cwd=project)
    assert code == 0, text
    assert re.search(r"^fine_tune +1$", text, re.M), "what segments with tuned weights does not tune them"
    weights.parent.mkdir(parents=True)
    for path in (weights, weights.with_name("scores.tsv")):
        path.write_bytes(b"")
    assert "Nothing to be done" in run(*arguments, made, cwd=project)[1]
    for path in weights.parent.iterdir():
        os.utime(path, (path.stat().st_mtime - 60,) * 2)
    assert re.search(r"^fine_tune +1$", run(*arguments, made, cwd=project)[1], re.M)
