"""Attention and robustness: what is planted in images and networks is found, and what is not there is at chance."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from planted_cells import write_cells

from subcell.benchmarks.inputs.disturbances import SEVERITIES, disturb
from subcell.benchmarks.inputs.drawn_structures import drawn_structures
from subcell.benchmarks.tasks import attention, robustness
from subcell.benchmarks.tasks.attention import best_head, by_chance, head_scores, neighbour_swap, swap_surroundings
from subcell.crops.store import CropStore, write_h5sc
from subcell.embedding.kinds import build_embedder
from subcell.embedding.models import Embedded
from subcell.segmentation.masks import create_masks

SIDE = 32


def planted_crops(cells=24, *, seed=0, dtype=np.uint8):
    """Round cells with a nucleus in different places, and a neighbour in the corner."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    images = np.zeros((cells, 6, SIDE, SIDE), dtype)
    for crop in images:
        cell = (y - 16) ** 2 + (x - 16) ** 2 < rng.integers(110, 150)
        cy, cx = 16 + rng.integers(-4, 5, 2)
        nucleus = (y - cy) ** 2 + (x - cx) ** 2 < 16
        crop[0], crop[1] = nucleus, cell
        crop[2] = np.where(cell, rng.integers(20, 200, (SIDE, SIDE)), 0)
        crop[3] = np.where(cell & (x < 16), 180, 20)
        crop[4] = np.where(nucleus, 200, 5)
        crop[5] = np.where(cell & (y < rng.integers(8, 24)), rng.integers(60, 200), 0)
        crop[2:, 26:, 26:] = rng.integers(100, 250)
    obs = pd.DataFrame(
        {
            "field_id": [f"f{n // 4}" for n in range(cells)],
            "antibody": [f"HPA{n // 2:05d}" for n in range(cells)],
            "locations": [("Cytosol", "Nucleoplasm")[n % 2] for n in range(cells)],
            "channels": "microtubules;er;nucleus;protein",
            "pixel_size_um": 0.5,
            "label": [n % 4 + 1 for n in range(cells)],
            "split": "train",
        },
        index=pd.Index([f"f{n // 4}:{n % 4 + 1}" for n in range(cells)], name="cell_id"),
    )
    return images, obs


def crops_of(path, cells=24, **columns):
    images, obs = planted_crops(cells)
    write_h5sc(path, obs.assign(**columns), images, field_um=16)
    return path


@pytest.fixture
def crops(tmp_path):
    return crops_of(tmp_path / "crops.h5sc")


def network(crops, **more):
    settings = {"kind": "random_vit", "size": "tiny", "seed": 1}
    return build_embedder("m", settings, crops=crops, attention=True, **more)


def test_a_compiled_network_pools_its_tokens_as_it_did(crops):
    images = CropStore([crops]).read(np.arange(3))
    settings = {"kind": "random_vit", "size": "tiny", "seed": 1}
    plain, compiled = (build_embedder("m", settings | {"compile": on}, crops=crops) for on in (False, True))
    found = compiled.poolings(images)
    assert set(found) >= {"mean", "class"}
    for name, vectors in plain.poolings(images).items():
        np.testing.assert_array_equal(found[name], vectors)


def written(task, folder, crops, **more):
    named = {"out_json": folder / "m.json", "out_parquet": folder / "m.parquet", "dataset": "d", "model": "m"}
    task.run([crops], **named, simulated=True, bootstraps=100, seed=0, sampled_cells=24, **more)
    result = json.loads((folder / "m.json").read_text())
    return {m["metric"]: m for m in result["metrics"]}, result, pd.read_parquet(folder / "m.parquet")


class Pixels:
    """A model whose vector are the pixels that it looks at."""

    name, requires, description, features = "pixels", (), {}, ()

    def __init__(self, planes=slice(2, 6), *, blind=False):
        self.planes, self.blind = planes, blind

    def embed(self, images, obs):
        vectors = (images[:, self.planes] * (images[:, 1:2] > 0)).reshape(len(images), -1).astype(np.float32)
        return Embedded(np.zeros_like(vectors) if self.blind else vectors)


def test_a_head_that_looks_at_a_structure_finds_it():
    rng = np.random.default_rng(0)
    wanted = (rng.random((30, 8, 8)) < 0.2).astype(float)
    cell = np.ones((30, 8, 8))
    maps = np.stack([rng.random((30, 8, 8)), wanted + 0.1 * rng.random((30, 8, 8)), np.ones((30, 8, 8))], axis=1)
    scores = head_scores(maps, wanted, cell)
    assert scores[:, 1] == pytest.approx(1)
    # Attention that is even finds the share of the structure.
    assert scores[:, 2] == pytest.approx(wanted.mean(axis=(1, 2)))
    assert best_head(scores) == pytest.approx(1)


def test_the_best_of_many_idle_heads_is_at_chance():
    """The head is chosen on other cells: the best of fifty on the same cells would be far above chance."""
    rng = np.random.default_rng(1)
    wanted = (rng.random((40, 6, 6)) < 0.25).astype(float)
    cell = np.ones(wanted.shape)
    scores = head_scores(rng.random((40, 50, 6, 6)), wanted, cell)
    even = head_scores(cell[:, None], wanted, cell)[:, 0]
    gap = best_head(scores) - scores.mean(axis=1)
    assert abs(gap.mean()) < 3 * gap.std() / np.sqrt(len(gap))
    assert scores.mean(axis=0).max() > scores.mean() + 0.03
    # With 36 patches a head that looks anywhere is above the share of the structure: chance is counted on such heads.
    assert scores.mean() > even.mean() + 0.03
    assert by_chance(wanted, cell, seed=0).mean() == pytest.approx(scores.mean(), abs=0.01)


def test_attention_on_nothing_is_at_chance(monkeypatch, tmp_path):
    crops, held = crops_of(tmp_path / "crops.h5sc"), 0
    embedder = network(crops)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        monkeypatch.setattr(
            attention, "look", lambda _network, images, _obs, rng=rng: (rng.random((len(images), 4, 8, 8)), 2)
        )
        scores, _, _ = written(attention, tmp_path, crops, embedder=embedder)
        found = scores["structure_ap"]
        held += found["low"] <= found["chance"] <= found["high"]
    assert held >= 45


def test_a_model_that_deals_vectors_at_random_finds_cells_by_chance(crops, tmp_path):
    class Dice(Pixels):
        def embed(self, images, obs):
            return Embedded(rng.normal(size=(len(images), 6)))

    held = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        scores, _, _ = written(robustness, tmp_path, crops, embedder=Dice())
        found = scores["same_cell"]
        held += found["low"] <= found["chance"] <= found["high"]
    assert held >= 45


def test_patches_half_in_a_structure_count_half():
    wanted = np.array([[[0.5, 0.0], [0.0, 0.0]]])
    cell = np.array([[[1.0, 1.0], [0.0, 0.0]]])
    maps = np.array([[[[2.0, 1.0], [9.0, 9.0]]]])
    assert head_scores(maps, wanted, cell)[0, 0] == pytest.approx(0.5)
    assert np.isnan(head_scores(maps, np.zeros((1, 2, 2)), cell)[0, 0])


def test_surroundings_change_and_the_cell_does_not():
    images, _ = planted_crops(6)
    swapped = swap_surroundings(images)
    own = images[:, 1:2] > 0
    assert (np.where(own, swapped, 0)[:, 2:] == np.where(own, images, 0)[:, 2:]).all()
    assert (swapped[:, :2] == images[:, :2]).all()
    assert (np.where(own, 0, swapped)[:, 2:] != np.where(own, 0, images)[:, 2:]).any()


def test_a_network_is_moved_by_its_surroundings_alone(crops):
    images, _ = planted_crops()
    embedder = network(crops)
    moved = neighbour_swap(embedder, images)
    assert list(moved) == ["attention", "mean", "class"]
    assert all(values.mean() > 1e-4 for values in moved.values())
    filled = images.copy()
    filled[:, 1] = 1
    # Where the cell is all there is, nothing is swapped.
    assert all(np.abs(values).max() < 1e-5 for values in neighbour_swap(embedder, filled).values())


def test_attention_of_a_network_is_scored(crops, tmp_path):
    found = {"nucleoli": None}

    def structures(obs, field_um, pixels):
        assert (field_um, pixels) == (16, SIDE)
        masks = np.zeros((len(obs), SIDE, SIDE), bool)
        masks[:, 14:18, 14:18] = True
        found["nucleoli"] = masks
        return {"nucleoli": masks}

    scores, result, table = written(attention, tmp_path, crops, embedder=network(crops), structures=structures)
    assert next(iter(scores)) == "structure_ap"
    for name in ("nucleus_ap", "er_ap", "nucleoli_ap", "control_untrained_ap", "share_in_cell", "swap_attention"):
        assert np.isfinite(scores[name]["value"]), name
    assert result["settings"]["structures"] == ["nucleus", "microtubules", "er", "nucleoli"]
    assert len(table) == 4 * 24
    assert scores["structure_ap"]["n"] == 12
    # The nucleus is bright: intensity finds it.
    assert scores["control_intensity_ap"]["value"] > scores["control_intensity_ap"]["chance"]
    assert table["uniform"].notna().all()


def test_a_model_without_attention_is_not_run(crops, tmp_path):
    _, result, _ = written(attention, tmp_path, crops, embedder=Pixels())
    assert result["reason"] == "needs a network with attention"


def test_an_untrained_network_differs_and_the_trained_one_stays(crops):
    images, obs = planted_crops(4)
    embedder = network(crops)
    before = embedder.embed(images, obs).vectors
    other = embedder.untrained(7).embed(images, obs).vectors
    assert not np.allclose(before, other)
    assert np.array_equal(other, embedder.untrained(7).embed(images, obs).vectors)
    assert np.array_equal(before, embedder.embed(images, obs).vectors)


def test_drawn_structures_lie_where_they_were_drawn(tmp_path):
    from PIL import Image

    labels = np.zeros((64, 64), np.int32)
    labels[4:24, 4:24], labels[40:60, 30:60] = 1, 2
    nucleoli = np.zeros((64, 64), np.uint8)
    nucleoli[10:14, 10:14] = 5  # the simulator's own number of the cell
    (tmp_path / "images").mkdir()
    Image.fromarray(nucleoli).save(tmp_path / "images" / "f1_nucleoli.png")
    with create_masks(tmp_path / "masks.zarr") as masks:
        masks.append("f1", labels, labels, pixel_size_um=0.5)
    obs = pd.DataFrame({"field_id": "f1", "label": [2, 1], "pixel_size_um": 0.5}, index=["f1:2", "f1:1"])
    find = drawn_structures([tmp_path / "images"], [tmp_path / "masks.zarr"])
    found = find(obs, 16.0, 32)
    assert list(found) == ["nucleoli"]
    assert found["nucleoli"][0].sum() == 0
    # The crop of cell 1 begins at -2, -2.
    assert np.argwhere(found["nucleoli"][1]).min(axis=0).tolist() == [12, 12]
    assert found["nucleoli"][1].sum() == 16
    assert find(obs.assign(field_id="f2"), 16.0, 32) == {}


@pytest.mark.parametrize("name", SEVERITIES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_changes_grow_with_their_severity(name, dtype):
    images, _ = planted_crops(4, dtype=dtype)
    differences = []
    for severity in SEVERITIES[name]:
        changed = disturb(images, name, severity, seed=3)
        assert changed.dtype == images.dtype
        assert changed.shape == images.shape
        assert np.array_equal(changed, disturb(images, name, severity, seed=3))
        assert set(np.unique(changed[:, :2])) <= {0, 1}
        differences.append(np.abs(changed.astype(float) - images).mean())
    if name != "rotation":
        assert differences[-1] > differences[0]
    assert differences[0] > 0


def test_a_change_of_the_protein_leaves_other_channels():
    images, _ = planted_crops(2)
    changed = disturb(images, "protein_brightness", 2.0)
    assert np.array_equal(changed[:, :5], images[:, :5])
    assert changed[0, 5].max() > images[0, 5].max()
    assert changed[1, 5].max() < images[1, 5].max()


def test_a_model_that_does_not_look_at_the_protein_does_not_mind_its_brightness(crops, tmp_path):
    scores, _, table = written(robustness, tmp_path, crops, embedder=Pixels(slice(2, 5)))
    assert next(iter(scores)) == "same_cell"
    assert scores["protein_brightness_same_cell"]["value"] == 1
    assert scores["protein_brightness_cosine"]["value"] == pytest.approx(1)
    assert scores["blur_cosine"]["value"] < 1
    assert len(table) == len(SEVERITIES) * 4 * 24
    assert "flipped" not in scores


@pytest.mark.parametrize("task", [attention, robustness])
@pytest.mark.parametrize("held_out", [16, 4])
def test_cells_that_a_network_learned_from_are_not_scored_where_others_are_enough(task, held_out, tmp_path):
    crops = crops_of(tmp_path / "crops.h5sc", split=["test"] * held_out + ["train"] * (24 - held_out))
    embedder = network(crops) if task is attention else Pixels()
    _, result, table = written(task, tmp_path, crops, embedder=embedder)
    numbers = {int(name[1:].split(":")[0]) * 4 + int(name.split(":")[1]) - 1 for name in table["cell_id"]}
    if held_out == 16:
        assert numbers == set(range(16))
        assert result["settings"]["cells"] == "16 held-out ones; chosen by a hash of their id"
    else:
        assert numbers == set(range(24))
        assert result["settings"]["cells"].startswith("24 of all, as too few are held out")


def test_the_probe_reads_no_more_vectors_than_it_learns_from(tmp_path, monkeypatch):
    monkeypatch.setattr(robustness, "PROBE_CELLS", 50)
    many, size = 400, 20_000
    obs = pd.DataFrame(
        {"locations": ["Cytosol", "Nucleoli"] * (many // 2), "split": ["train", "train", "test", "valid"] * 100}
    )
    obs.index = [f"c{n}" for n in range(many)]
    vectors = np.random.default_rng(0).normal(size=(many, size)).astype(np.float32)
    vectors[:, ::2] += np.where(obs["locations"] == "Cytosol", 1, -1)[:, None]
    path = write_cells(tmp_path / "cells.h5ad", obs, vectors)
    chosen = robustness.frozen.read_cells(path, choose=robustness._probe_cells)
    assert set(chosen.obs["split"]) == {"train"}
    assert np.array_equal(chosen.features, vectors[obs.index.get_indexer(chosen.obs.index)])
    tracemalloc.start()
    robustness.frozen.read_cells(path, choose=robustness._probe_cells)
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read < vectors.nbytes / 4
    assert (robustness.fit_probe(path).calls(vectors) == (obs["locations"] != "Cytosol")).mean() > 0.9


def test_a_blind_model_finds_no_cell(crops, tmp_path):
    scores, _, _ = written(robustness, tmp_path, crops, embedder=Pixels(blind=True))
    assert scores["same_cell"]["value"] == 0
    assert scores["same_cell"]["chance"] == pytest.approx(1 / 24)


def test_location_calls_flip_as_the_image_changes(crops, tmp_path):
    images, obs = planted_crops()
    vectors = Pixels().embed(images, obs).vectors
    cells = write_cells(tmp_path / "cells.h5ad", obs, vectors)
    scores, result, _ = written(robustness, tmp_path, crops, embedder=Pixels(), cells=cells)
    assert result["settings"]["locations_by"] == "ridge regression"
    assert 0 < scores["flipped"]["value"] < 0.6
    assert scores["offset_flipped"]["value"] < scores["rotation_flipped"]["value"]
