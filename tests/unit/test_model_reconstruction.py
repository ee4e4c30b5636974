"""What is written of hidden patches: known errors of a decoder whose answers are known."""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from training_example import MICRO, run

from subcell.channels import CHANNELS
from subcell.crops.store import CropStore
from subcell.model.loop.pretraining import Pretraining
from subcell.model.loop.reconstruction import SHOWN, unpatchify, write_reconstructions
from subcell.model.network.decoder import patchify
from subcell.model.objectives.recipes import RECIPES


def test_patches_go_back_where_they_were() -> None:
    images = torch.rand(2, 3, 24, 24)
    assert torch.equal(unpatchify(patchify(images, 8), 3), images)


def written(folder, crop_file, decode):
    network = Pretraining(recipe=RECIPES["mae"], size=MICRO, image_px=32, classes=0, seed=0)
    assert network.decoder is not None
    network.decoder.forward = decode  # type: ignore[method-assign]
    store = CropStore(crop_file)
    png, tsv = folder / "panel.png", folder / "errors.tsv"
    write_reconstructions(network, store, np.arange(12), png, tsv, seed=1)
    assert network.training
    return pd.read_csv(tsv, sep="\t"), cv2.imread(str(png), cv2.IMREAD_GRAYSCALE)


def test_the_mean_of_a_patch_is_what_errors_are_compared_with(tmp_path, crop_file) -> None:
    table, panel = written(tmp_path, crop_file, lambda tokens, keep: torch.zeros(len(tokens), 16, 8 * 8 * 4))
    assert list(table["channel"]) == [name for name in CHANNELS for _ in range(2)]
    assert list(table["where"]) == ["inside", "outside"] * 4
    assert table["error"].to_numpy() == pytest.approx(table["error_of_mean"].to_numpy())
    # Twelve cells, half of 16 patches of 64 pixels hidden, in each channel; patches have variance 1.
    of_channel = table.groupby("channel")["pixels"].sum()
    assert set(of_channel) == {12 * 8 * 64}
    assert (table["error_of_mean"] * table["pixels"]).sum() / table["pixels"].sum() == pytest.approx(1, abs=0.01)
    assert panel.shape[0] == 18 + SHOWN * (32 + 2)


def test_a_wrong_channel_shows_where_it_is_wrong(tmp_path, crop_file) -> None:
    def one_off(tokens, keep):
        patches = torch.zeros(len(tokens), 16, 64, 4)
        patches[..., 2] = 10.0
        return patches.flatten(2)

    table, _ = written(tmp_path, crop_file, one_off)
    worse = (table["error"] - table["error_of_mean"]).groupby(table["channel"]).mean()
    assert worse["nucleus"] == pytest.approx(100, rel=0.1)
    assert worse.drop("nucleus").abs().max() == 0


def test_a_training_with_a_decoder_writes_both(tmp_path, crop_file) -> None:
    outputs = {"out_reconstruction": tmp_path / "r.png", "out_reconstruction_errors": tmp_path / "r.tsv"}
    run(tmp_path, crop_file, epochs=1, tensorboard=str(tmp_path / "events"), **outputs)
    assert all(path.stat().st_size for path in outputs.values())
    assert len(list((tmp_path / "events").glob("events.out.tfevents.*"))) == 1
    run(tmp_path / "vit", crop_file, epochs=1, recipe="vit-prots-pool",
        out_reconstruction=tmp_path / "none.png", out_reconstruction_errors=tmp_path / "none.tsv")  # fmt: skip
    assert not (tmp_path / "none.png").exists()
