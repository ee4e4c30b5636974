"""The same bits whatever the cores, and the same cells, vectors and scores whatever the shards."""

import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest
from chain import CONFIG, finish
from compare import differences
from safetensors.numpy import load_file


def test_one_core_gives_the_bits_of_two_in_another_clone(fresh, undisturbed):
    finish(fresh, "--cores", 1)
    assert differences(fresh / "results", undisturbed / "results", tolerance=0) == []


def test_five_shards_give_the_cells_vectors_and_scores_of_two(fresh, undisturbed):
    """Of a network that is trained on them, and of an untrained one."""
    config = fresh / CONFIG
    config.write_text(re.sub("shards: 2", "shards: 5", config.read_text()))
    folders = [f"results/tiny/{model}" for model in ("vit_prots_pool", "random_vit")]
    scores = [f"{folder}/benchmarks/{task}.json" for folder in folders for task in ("localization", "cell_line")]
    finish(fresh, *scores, "--cores", 2)
    for folder in folders:
        one, other = (anndata.read_h5ad(project / folder / "cells.h5ad") for project in (fresh, undisturbed))
        assert list(one.obs_names) == list(other.obs_names)
        columns = [column for column in one.obs if column not in ("shard", "scportrait_cell_id")]
        pd.testing.assert_frame_equal(one.obs[columns], other.obs[columns])
        np.testing.assert_allclose(one.X, other.X, rtol=1e-5, atol=1e-5)
    for path in scores:
        one, other = (json.loads((project / path).read_text())["metrics"] for project in (fresh, undisturbed))
        values = [{score["metric"]: score["value"] for score in found} for found in (one, other)]
        assert values[0], path
        assert values[0] == pytest.approx(values[1], abs=1e-6), path


def test_two_processes_train_to_the_weights_of_one(fresh, undisturbed):
    """As on two GPUs, which this machine need not have: each has a half of every batch."""
    name = "results/models/vit_prots_pool/checkpoint.safetensors"
    finish(fresh, name, "--cores", 2, "--config", "gpus=2")
    said = (fresh / "logs/models/vit_prots_pool/train.log").read_text()
    assert "torchrun" in said, said
    one, two = (load_file(project / name) for project in (undisturbed, fresh))
    assert one.keys() == two.keys()
    for key, weight in one.items():
        np.testing.assert_allclose(two[key], weight, atol=1e-4, err_msg=key)
