"""Where a network looks: statistics with known answers, and files that do not depend on shards."""

import numpy as np
import pandas as pd
import pytest

from subcell.channels import CHANNELS
from subcell.crops.store import CropStore, write_h5sc
from subcell.embedding.attention import STATISTICS, measure, patch_signals, write_attention
from subcell.embedding.models import Embedded
from subcell.embedding.sampling import sample_cells
from subcell.reporting.figures.attention import draw_attention

SIDE = 32


def crop():
    """A cell in the left half, its nucleus in the upper left quarter, the protein a bright spot in one patch of the cell."""
    image = np.zeros((6, SIDE, SIDE), np.uint8)
    image[1, :, :16] = 1
    image[0, :16, :16] = 1
    image[2:5, :, :16] = 50
    image[4] = np.where(image[0] > 0, 200, 10)
    image[5, :, :16] = 5
    image[5, 24:32, 8:16] = 250
    return image


def stats(attention, image=None):
    image = crop() if image is None else image
    found = measure(np.asarray(attention, float), patch_signals(image, (4, 4)))
    return dict(zip(STATISTICS, found, strict=True))


def test_attention_on_one_patch_is_all_where_that_patch_is():
    on_protein = np.zeros((4, 4))
    on_protein[3, 1] = 0.6  # the class token has the rest
    found = stats(on_protein)
    assert found["fraction_cell"] == found["fraction_protein_signal"] == pytest.approx(1)
    assert found["fraction_nucleus"] == found["fraction_nucleus_signal"] == 0
    assert found["correlation_protein"] == pytest.approx(1, abs=0.01)
    outside = np.zeros((4, 4))
    outside[0, 3] = 1
    assert stats(outside)["fraction_cell"] == 0


def test_even_attention_has_the_share_of_the_area():
    found = stats(np.ones((4, 4)))
    assert found["fraction_cell"] == pytest.approx(0.5)
    assert found["fraction_nucleus"] == found["fraction_nucleus_signal"] == pytest.approx(0.25)
    assert found["fraction_protein_signal"] == pytest.approx(1 / 16)
    assert np.isnan(found["correlation_protein"]), "what is even correlates with nothing"
    # A constant stain has no signal, and an empty cell nothing at all.
    assert found["fraction_er_signal"] == 0
    assert stats(np.ones((4, 4)), np.zeros_like(crop()))["fraction_cell"] == 0


def test_correlation_is_pearsons():
    attention = np.random.default_rng(0).random((4, 4))
    protein = np.where(crop()[1] > 0, crop()[5], 0).reshape(4, 8, 4, 8).mean((1, 3))
    expected = np.corrcoef(attention.ravel(), protein.ravel())[0, 1]
    assert stats(attention)["correlation_protein"] == pytest.approx(expected)


class Looks:
    """Looks at the brightest patch of the protein with one head and evenly with the other."""

    name, features, requires, description = "looks", ("a",), (), {}

    def embed(self, images, obs):
        protein = images[:, 5].reshape(len(images), 4, 8, 4, 8).mean((2, 4))
        sharp = (protein == protein.max((1, 2), keepdims=True)).astype(np.float16)
        maps = np.stack([sharp, np.full_like(sharp, 1 / 16)], axis=1)
        return Embedded(np.zeros((len(images), 1), np.float32), {"attention": maps, "class_attention": maps})


def write(path, ids):
    images = np.stack([crop() + np.uint8(i) for i in range(len(ids))])
    images[:, :2] = crop()[:2]
    obs = pd.DataFrame({"field_id": "f", "channels": ";".join(CHANNELS)}, index=ids)
    write_h5sc(path, obs, images, field_um=8.0)
    return path


def test_statistics_and_pictures_do_not_depend_on_shards(tmp_path):
    ids = [f"f:{i}" for i in range(7)]
    whole = write(tmp_path / "whole.h5sc", ids)
    store = CropStore(whole)
    parts = []
    for name, rows in (("a", [4, 1, 6]), ("b", [0, 5, 3, 2])):
        parts.append(tmp_path / f"{name}.h5sc")
        write_h5sc(parts[-1], store.obs.iloc[rows], store.read(rows), field_um=8.0)
    for name, paths in (("one", [whole]), ("two", parts)):
        write_attention(
            paths, Looks(), tmp_path / f"{name}.tsv", tmp_path / f"{name}.npz", cells=5, shown=2, batch_size=2
        )
    assert (tmp_path / "one.tsv").read_bytes() == (tmp_path / "two.tsv").read_bytes()
    table = pd.read_csv(tmp_path / "one.tsv", sep="\t").set_index(["kind", "head", "statistic"])
    assert table.loc[("pooled", 1, "fraction_protein_signal"), "mean"] == pytest.approx(1)
    assert table.loc[("class", 2, "fraction_cell"), "mean"] == pytest.approx(0.5, abs=1e-3)
    assert table.loc[("class", 2, "fraction_cell"), "uniform"] == pytest.approx(0.5)
    assert table["n_cells"].max() == 5
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert one["images"].shape == (2, 6, SIDE, SIDE)
        assert one["cell_id"].tolist() == two["cell_id"].tolist()
    draw_attention(tmp_path / "one.npz", tmp_path / "one.png")
    draw_attention(tmp_path / "two.npz", tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size > 5_000


def test_a_dataset_without_cells_gives_an_empty_table(tmp_path):
    images = np.zeros((0, 6, SIDE, SIDE), np.uint8)
    obs = pd.DataFrame({"field_id": [], "channels": []}, index=pd.Index([], dtype=object))
    write_h5sc(tmp_path / "none.h5sc", obs, images, field_um=8.0)
    write_attention([tmp_path / "none.h5sc"], Looks(), tmp_path / "a.tsv", tmp_path / "a.npz")
    assert len(pd.read_csv(tmp_path / "a.tsv", sep="\t")) == 0
    draw_attention(tmp_path / "a.npz", tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_sample_depends_on_ids_alone():
    obs = pd.DataFrame(index=[f"c{i}" for i in range(50)])
    chosen = obs.index[sample_cells(obs, 9)]
    shuffled = obs.iloc[np.random.default_rng(0).permutation(50)]
    assert list(shuffled.index[sample_cells(shuffled, 9)]) == list(chosen)
