"""Training of a micro network: what it writes, that it goes on after a kill, what it refuses."""

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import read_h5ad
from training_example import MICRO, run

from subcell.channels import CHANNELS
from subcell.crops.store import CropStore, write_h5sc
from subcell.embedding.kinds import build_embedder
from subcell.embedding.run import embed_shard
from subcell.errors import NothingLeftError, SubcellError
from subcell.model.loop import plan, training
from subcell.model.loop.curves import Curves
from subcell.model.loop.loop import TrainingLoop
from subcell.model.loop.optimisation import Schedule, build_optimizer
from subcell.model.loop.pretraining import Pretraining
from subcell.model.loop.resume import data_sha256
from subcell.model.loop.training import training_and_validation_rows
from subcell.model.objectives.recipes import RECIPES
from subcell.model.weights.checkpoint import load_encoder


def test_training_does_not_depend_on_the_shards(tmp_path, crop_file):
    """The same cells in two files, in another order."""
    store = CropStore(crop_file)
    paths = []
    for number in (1, 0):
        rows = np.flatnonzero(np.arange(len(store)) % 2 == number)[::-1]
        paths.append(tmp_path / f"{number}.h5sc")
        write_h5sc(paths[-1], store.obs.iloc[rows], store.read(rows), field_um=51.2)
    settings = {"epochs": 1, "items_per_batch": 4}
    one, _ = run(tmp_path / "one", crop_file, **settings)
    two, _ = run(tmp_path / "two", paths, **settings)
    for name, weight in one.items():
        assert torch.equal(weight, two[name]), name


def test_the_seed_decides_and_reading_ahead_changes_nothing(tmp_path, crop_file) -> None:
    one, _ = run(tmp_path / "one", crop_file, epochs=1)
    ahead, _ = run(tmp_path / "ahead", crop_file, epochs=1, workers=1)
    other, _ = run(tmp_path / "other", crop_file, epochs=1, seed=2)
    assert all(torch.equal(one[name], ahead[name]) for name in one)
    assert not torch.equal(one["norm.weight"], other["norm.weight"])


def test_a_step_is_counted_before_the_network_lies_on_a_device(tmp_path, crop_file, monkeypatch) -> None:
    """It is counted with tensors that lie nowhere, so on a GPU the network's own would not fit them."""
    order = []

    def in_order(call):
        def noted(network, *given, **more):
            order.append(call.__name__)
            return call(network, *given, **more)

        return noted

    monkeypatch.setattr(plan, "COUNTED_FROM", 0)
    monkeypatch.setattr(training, "describe_step", in_order(training.describe_step))
    monkeypatch.setattr(training, "TrainingLoop", in_order(training.TrainingLoop))
    said = []
    run(tmp_path, crop_file, epochs=1, log=said.append)
    assert order == ["describe_step", "TrainingLoop"]
    assert any("TFLOP" in line for line in said)


def test_a_network_of_some_stains_sees_no_others(tmp_path, crop_file) -> None:
    store = CropStore(crop_file)
    crops = store.read(np.arange(len(store)))
    there, other = tmp_path / "there.h5sc", tmp_path / "other.h5sc"
    for path in (there, other):
        write_h5sc(path, store.obs.assign(channels=";".join(CHANNELS)), crops, field_um=51.2)
        crops[:, 2:4] = 255 - crops[:, 2:4]
    objective = {"channels": ["protein", "nucleus"]}
    settings = {"epochs": 1, "recipe": "mae-cells-prots", "objective": objective}
    panel = {"out_reconstruction": tmp_path / "r.png", "out_reconstruction_errors": tmp_path / "r.tsv"}
    one, curves = run(tmp_path / "one", there, **settings, **panel)
    two, _ = run(tmp_path / "two", other, **settings)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not curves.empty
    assert set(pd.read_csv(tmp_path / "r.tsv", sep="\t")["channel"]) == {"nucleus", "protein"}

    checkpoint = tmp_path / "one" / "checkpoint.safetensors"
    vectors = []
    for path in (there, other):
        embedder = build_embedder("m", {"kind": "subcell", "attention": False}, crops=path, checkpoint=checkpoint)
        embed_shard(path, embedder, tmp_path / "vectors.h5ad")
        vectors.append(read_h5ad(tmp_path / "vectors.h5ad").X)
    assert load_encoder(checkpoint)[1]["channels"] == ["nucleus", "protein"]
    assert np.array_equal(*vectors)


def test_labels_of_locations_do_not_touch_the_encoder(tmp_path, crop_file, monkeypatch) -> None:
    with_labels, curves = run(tmp_path / "with", crop_file)
    monkeypatch.setattr("subcell.model.loop.training.location_classes", lambda obs: [])
    without, curves_without = run(tmp_path / "without", crop_file)
    assert all(torch.equal(with_labels[name], without[name]) for name in with_labels)
    watching = {"classifier", "macro_ap", "label_ranking_ap"}
    assert watching <= set(curves["metric"])
    assert not watching & set(curves_without["metric"])


def test_curves_and_description_say_what_happened(tmp_path, crop_file) -> None:
    _, curves = run(tmp_path, crop_file)
    assert list(curves.columns) == ["step", "epoch", "split", "metric", "value"]
    train_rows = curves[curves["split"] == "train"]
    assert set(train_rows["metric"]) == {
        *("loss", "reconstruction", "cell_specific", "protein_specific"),
        *("classifier", "gradient_norm", "learning_rate"),
    }
    of_step = train_rows[train_rows["step"] == 4].set_index("metric")["value"]
    parts = of_step["reconstruction"] + of_step["cell_specific"] + 0.1 * of_step["protein_specific"]
    assert of_step["loss"] == pytest.approx(parts, rel=1e-5)
    valid = curves[curves["split"] == "valid"]
    assert sorted(set(valid["epoch"])) == [2, 3]
    assert set(valid["metric"]) - {"plateau"} == {
        *("macro_ap", "label_ranking_ap"),
        *("embedding_std", "embedding_rank", "variance_rank", "embedding_uniformity"),
    }
    encoder, config = load_encoder(tmp_path / "checkpoint.safetensors")
    assert encoder.dim == 32
    assert (config["image_px"], config["um_per_px"]) == (32, pytest.approx(1.6))
    assert (config["recipe"], config["positions"], config["dropped_channels"]) == (
        "mae-cells-prots-pool",
        "sincos",
        True,
    )
    assert (config["training_cells"], config["selected_by"], config["scaling"]) == (20, "last", "minmax")
    assert config["data_sha256"] == data_sha256([crop_file])


def test_training_cells_only_are_learned_from() -> None:
    rows, watched = training_and_validation_rows(pd.DataFrame({"split": ["train", "test", "valid", "train", None]}))
    assert (rows.tolist(), watched.tolist()) == ([0, 3], [2])
    rows, watched = training_and_validation_rows(pd.DataFrame({"split": [None, None]}, dtype=object))
    assert (rows.tolist(), watched.tolist()) == ([0, 1], [])
    with pytest.raises(NothingLeftError, match="none of 1 cells has the split 'train'"):
        training_and_validation_rows(pd.DataFrame({"split": ["test"]}))


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path, crop_file, monkeypatch) -> None:
    monkeypatch.setattr("subcell.model.loop.pretraining.reconstruction_loss", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(SubcellError, match=r"loss of step 1 is nan; lower `training.learning_rate`"):
        run(tmp_path, crop_file)


def test_the_rate_rises_and_falls_in_straight_lines() -> None:
    schedule = Schedule(1e-4, cells=1024, warmup_steps=10, steps=111)
    assert schedule.peak == pytest.approx(4e-4)
    assert schedule.rate(4) == pytest.approx(4e-4 * 5 / 11)
    assert schedule.rate(10) == pytest.approx(4e-4)
    assert schedule.rate(60) == pytest.approx(4e-4 * 0.5005)
    assert schedule.rate(110) == pytest.approx(4e-7)


def test_every_weight_is_optimised_once_and_decays_as_in_the_paper() -> None:
    network = Pretraining(recipe=RECIPES["mae-cells-prots-pool"], size=MICRO, image_px=32, classes=3, seed=0)
    optimizer = build_optimizer(network)
    decay = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(decay)
    assert set(decay) == {id(weight) for weight in network.parameters()}
    assert optimizer.defaults["betas"] == (0.9, 0.95)
    named = {name: decay[id(weight)] for name, weight in network.named_parameters()}
    assert named["encoder.blocks.0.attn.qkv.weight"] == 0.05
    assert named["encoder.blocks.0.attn.qkv.bias"] == named["encoder.norm.weight"] == 0
    assert named["decoder.pixels.weight"] == named["encoder.class_token"] == 0.05
    assert named["encoder.pooling.attention.weight"] == named["cell_head.layers.0.weight"] == 0.01


def test_a_collapse_is_said_and_stands_in_the_curves(tmp_path, crop_file, monkeypatch) -> None:
    lines = []
    _, healthy = run(tmp_path / "healthy", crop_file, epochs=1, log=lines.append)
    assert "collapsed" not in set(healthy["metric"])
    assert not any("COLLAPSED" in line for line in lines)
    monkeypatch.setattr("subcell.model.loop.validation.LEAST_RANK", 1e6)
    _, curves = run(tmp_path / "collapsed", crop_file, epochs=1, log=lines.append)
    assert curves.loc[curves["metric"] == "collapsed", ["split", "value"]].to_numpy().tolist() == [["valid", 1.0]]
    assert any(line.startswith("COLLAPSED after epoch 1: vectors use") for line in lines)


def test_a_loss_that_stays_at_chance_is_said_and_stands_in_the_curves(tmp_path, crop_file, monkeypatch) -> None:
    lines = []
    settings = {"epochs": 2, "validate_every": 1, "learning_rate": 1e-9}
    monkeypatch.setattr("subcell.model.loop.validation.PLATEAU", 0.7)
    _, curves = run(tmp_path, crop_file, **settings, log=lines.append)
    assert curves.loc[curves["metric"] == "plateau", ["epoch", "value"]].to_numpy().tolist() == [[1.0, 1.0], [2.0, 1.0]]
    assert any(line.startswith("PLATEAU after epoch 1: ") and "chance (2.708)" in line for line in lines)


def test_without_validation_cells_the_spread_of_training_cells_is_watched(tmp_path, crop_file) -> None:
    store = CropStore(crop_file)
    path = tmp_path / "unsplit.h5sc"
    write_h5sc(path, store.obs.assign(split=None), store.read(range(len(store))), field_um=51.2)
    _, curves = run(tmp_path, path, epochs=1)
    assert set(curves["split"]) == {"train"}
    assert {"embedding_rank", "embedding_std", "embedding_uniformity"} <= set(curves["metric"])


def test_a_long_training_keeps_every_third_step(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("subcell.model.loop.curves.MOST_POINTS", 10)
    curves = Curves(steps=25)
    for step in range(1, 26):
        curves.add(step, 1, "train", {"loss": step})
    curves.add(25, 1, "valid", {"macro_ap": 0.5})
    curves.write(tmp_path / "c.parquet")
    table = pd.read_parquet(tmp_path / "c.parquet")
    assert table["step"].tolist() == [3, 6, 9, 12, 15, 18, 21, 24, 25]
    assert table["metric"].iloc[-1] == "macro_ap"


def test_a_running_mean_of_the_weights_is_what_is_written(tmp_path, crop_file) -> None:
    """Of two steps: the first has a decay of 1 / 10, the second of 2 / 11."""
    settings = {"epochs": 1, "items_per_batch": 4, "warmup_epochs": 0}
    after = {}
    take = TrainingLoop.step

    def noted(self, number, *args, **more):
        after.setdefault(0, self.network.encoder.norm.bias.detach().clone())
        found = take(self, number, *args, **more)
        after[number + 1] = self.network.encoder.norm.bias.detach().clone()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "step", noted)
        weights, _ = run(tmp_path, crop_file, ema=0.99, **settings)
    assert sorted(after) == [0, 1, 2]
    first = after[0] / 10 + after[1] * 9 / 10
    torch.testing.assert_close(weights["norm.bias"], first * 2 / 11 + after[2] * 9 / 11)
