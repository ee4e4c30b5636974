"""The same bits whatever the cores, and the same cells, vectors and scores whatever the shards."""

import re

import anndata
import numpy as np
import pandas as pd
from chain import CONFIG, finish
from compare import differences


def test_one_core_gives_the_bits_of_two_in_another_clone(fresh, undisturbed):
    finish(fresh, "--cores", 1)
    assert differences(fresh / "results", undisturbed / "results", tolerance=0) == []


def test_five_shards_give_the_cells_and_vectors_of_two(fresh, undisturbed):
    """Of the untrained network; that training does not depend on shards is tested by itself."""
    config = fresh / CONFIG
    config.write_text(re.sub("shards: 2", "shards: 5", config.read_text()))
    finish(fresh, "results/tiny/random_vit/cells.h5ad", "--cores", 2)
    name = "results/tiny/random_vit/cells.h5ad"
    one, other = (anndata.read_h5ad(project / name) for project in (fresh, undisturbed))
    assert list(one.obs_names) == list(other.obs_names)
    columns = [column for column in one.obs if column not in ("shard", "scportrait_cell_id")]
    pd.testing.assert_frame_equal(one.obs[columns], other.obs[columns])
    np.testing.assert_allclose(one.X, other.X, rtol=1e-5, atol=1e-5)
