"""What a changed configuration computes again in a finished run; files stand for results, nothing is computed."""

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
    "pathvars": {"results": "results/reruns", "logs": "logs/reruns"},
}
TARGETS = ("results/reruns/models/mae/checkpoint.safetensors", "results/reruns/tiny/mae/cells.h5ad")


@pytest.fixture(scope="module")
def finished(project):
    """The project with a file, or a folder, for everything that the two targets are made from; rules have ended well."""
    planned = project / "reruns.yaml"
    planned.write_text(yaml.safe_dump(CONFIG))
    code, text = run(*TARGETS, "--summary", "--configfile", planned, cwd=project)
    assert code == 0, text
    names = [line.split("\t")[0] for line in text.splitlines() if line.startswith("results/")]
    # In the order of the chain, so that nothing is older than what it was made from.
    assert set(TARGETS) < set(names)
    for name in names:
        path = project / name
        if "." in path.name and path.suffix != ".zarr":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.mkdir(parents=True, exist_ok=True)
    code, text = run(*TARGETS, "--touch", "--forceall", "--cores", 1, "--configfile", planned, cwd=project)
    assert code == 0, text
    return project


def jobs_after(finished, change, name):
    """Rules that run again after a change of the model's block."""
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    change(config["models"]["mae"])
    path = finished / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    code, text = run("-n", *TARGETS, "--configfile", path, cwd=finished)
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
