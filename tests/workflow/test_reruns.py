"""What a changed configuration computes again in a finished run; files stand for results, nothing is computed."""

import os
import re

import pytest
import yaml
from conftest import run

CONFIG = {
    "datasets": {"tiny": {"source": "simulate", "shards": 1}, "other": {"source": "simulate", "shards": 1, "seed": 2}},
    "models": {
        "mae": {"kind": "subcell", "train_on": ["tiny"], "evaluate_on": ["tiny"], "training": {"epochs": 2}},
        "random_vit": {"kind": "random_vit"},
    },
    "tasks": {
        "interactions": {"pairs": [{"name": "own", "file": "own.tsv", "aliases": "names.tsv", "baits": "baits.txt"}]}
    },
    "own_tasks": {"own": {"file": "own_task.py"}},
    "pathvars": {"results": "results/reruns", "logs": "logs/reruns"},
}
TARGETS = ("results/reruns/models/mae/checkpoint.safetensors", "results/reruns/tiny/mae/cells.h5ad")
OWN = ["results/reruns/tiny/mae/benchmarks/own.json", "results/reruns/tiny/controls/own/random_labels.json"]
OWN_TASK = "from subcell.benchmarks.statistics.bootstrap import bootstrap\n\n\ndef run(cells): ...\n"
INTERACTIONS = "results/reruns/tiny/mae/benchmarks/interactions.json"


@pytest.fixture(scope="module")
def finished(project):
    """The project with a file, or a folder, for everything that the targets are made from; rules have ended well."""
    targets = (*TARGETS, INTERACTIONS, *OWN)
    (project / "own_task.py").write_text(OWN_TASK)
    for name in ("own.tsv", "names.tsv", "baits.txt"):
        (project / name).touch()
    planned = project / "reruns.yaml"
    planned.write_text(yaml.safe_dump(CONFIG))
    code, text = run(*targets, "--summary", "--configfile", planned, cwd=project)
    assert code == 0, text
    names = [line.split("\t")[0] for line in text.splitlines() if line.startswith("results/")]
    # In the order of the chain, so that nothing is older than what it was made from.
    assert set(targets) < set(names)
    for name in names:
        path = project / name
        if "." in path.name and path.suffix != ".zarr":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.mkdir(parents=True, exist_ok=True)
    code, text = run(*targets, "--touch", "--forceall", "--cores", 1, "--configfile", planned, cwd=project)
    assert code == 0, text
    return project


def jobs_after(finished, change, name, targets=TARGETS):
    """Rules that run again after a change of the model's block."""
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    change(config["models"]["mae"])
    path = finished / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    code, text = run("-n", *targets, "--configfile", path, cwd=finished)
    assert code == 0, text
    return set(re.findall(r"^(\w+) +\d+$", text, re.MULTILINE)) - {"total"}


def test_what_does_not_change_the_weights_trains_nothing_again(finished):
    def change(model):
        model["evaluate_on"] = ["tiny", "other"]
        model["training"] |= {"workers": 1, "checkpoints": 1, "tensorboard": False, "compile": True}

    assert jobs_after(finished, change, "others") == set()


def test_what_changes_the_vectors_alone_embeds_again(finished):
    def change(model):
        model["masked"] = False

    assert jobs_after(finished, change, "masked") == {"embed", "merge_embeddings"}


def test_what_changes_the_weights_trains_again(finished):
    def change(model):
        model["training"]["learning_rate"] = 1e-3

    assert {"train_autoencoder", "embed"} <= jobs_after(finished, change, "rate")


@pytest.mark.parametrize("file", ["names.tsv", "baits.txt"])
def test_a_new_list_beside_the_interactions_scores_them_again(finished, file):
    def nothing(model):
        pass

    assert jobs_after(finished, nothing, "as_it_was", [INTERACTIONS]) == set()
    before = (finished / file).stat()
    (finished / file).write_text("P53\n")
    assert jobs_after(finished, nothing, "new_list", [INTERACTIONS]) == {"interactions"}
    (finished / file).write_text("")
    os.utime(finished / file, ns=(before.st_atime_ns, before.st_mtime_ns))


LIBRARY = "workflow/scripts/subcell"


@pytest.mark.parametrize(
    ("file", "again", "others"),
    [
        ("own_task.py", {"own_task", "controls"}, {"interactions", "embed"}),
        (
            f"{LIBRARY}/benchmarks/statistics/bootstrap.py",
            {"own_task", "controls", "interactions"},
            {"embed", "check_quality"},
        ),
        (f"{LIBRARY}/benchmarks/tasks/interactions.py", {"interactions"}, {"own_task", "controls", "embed"}),
        (f"{LIBRARY}/embedding/store.py", {"embed", "merge_embeddings", "own_task", "controls"}, {"train_autoencoder"}),
        (
            f"{LIBRARY}/reporting/figures/figures.py",
            set(),
            {"check_quality", "embed", "own_task", "controls", "interactions"},
        ),
    ],
)
def test_changed_code_computes_again_what_came_from_it(finished, file, again, others):
    path = finished / file
    before = path.read_text()
    path.write_text(before + "# changed\n")
    try:
        jobs = jobs_after(finished, lambda model: None, "code", [*TARGETS, INTERACTIONS, *OWN])
    finally:
        path.write_text(before)
    assert again <= jobs
    assert not others & jobs
