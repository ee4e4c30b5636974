"""A training that is killed or asked to end goes on as if nothing had happened; what it keeps, and when it starts anew."""

import multiprocessing
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from training_example import run

from subcell.crops.store import CropStore, write_h5sc
from subcell.errors import CheckpointError, SubcellError
from subcell.model.loop.loop import TrainingLoop
from subcell.model.running.stopping import stop_requests
from subcell.model.weights.checkpoint import load_encoder


class KilledError(Exception):
    pass


def kill_at(step: int, monkeypatch):
    take = TrainingLoop.step

    def die(self, number, *args, **settings):
        if number == step:
            raise KilledError
        return take(self, number, *args, **settings)

    monkeypatch.setattr(TrainingLoop, "step", die)


@pytest.mark.parametrize("recipe", ["mae-cells-prots-pool", "vit-prots-pool"])
def test_a_killed_run_goes_on_to_the_same_weights_and_curves(tmp_path, crop_file, monkeypatch, recipe) -> None:
    weights, curves = run(tmp_path / "whole", crop_file, recipe=recipe)
    with monkeypatch.context() as patch:
        kill_at(3, patch)
        with pytest.raises(KilledError):
            run(tmp_path / "killed", crop_file, recipe=recipe)
    assert (tmp_path / "killed" / "state" / "last.ckpt").exists()
    assert not (tmp_path / "killed" / "checkpoint.safetensors").exists()
    lines = []
    again, curves_again = run(tmp_path / "killed", crop_file, recipe=recipe, log=lines.append)
    assert any(line.startswith("step 2 of 6") for line in lines)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    pd.testing.assert_frame_equal(curves, curves_again)


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9, "select": "embedding_rank"}])
def test_a_finished_run_takes_no_step_again_and_writes_the_same_files(
    tmp_path, crop_file, monkeypatch, settings
) -> None:
    """What happens to a training that outlived Snakemake, which then counts it as unfinished."""
    panel = {"out_reconstruction": tmp_path / "r.png", "out_reconstruction_errors": tmp_path / "r.tsv"}
    run(tmp_path, crop_file, **settings, **panel)
    written = [tmp_path / "checkpoint.safetensors", tmp_path / "training.parquet", *panel.values()]
    before = {path: path.read_bytes() for path in written}
    for path in written:
        path.unlink()
    kill_at(0, monkeypatch)
    lines = []
    run(tmp_path, crop_file, log=lines.append, **settings, **panel)
    assert any(line.startswith("step 6 of 6") for line in lines)
    assert {path: path.read_bytes() for path in written} == before
    with pytest.raises(KilledError):
        run(tmp_path, crop_file, **{"learning_rate": 2e-2, **settings})


def test_state_is_also_saved_within_a_long_epoch(tmp_path, crop_file, monkeypatch) -> None:
    weights, _ = run(tmp_path / "whole", crop_file)
    with monkeypatch.context() as patch:
        patch.setattr("subcell.model.loop.steps.SAVE_EVERY_S", -1.0)
        kill_at(3, patch)
        with pytest.raises(KilledError):
            run(tmp_path / "killed", crop_file)
    lines = []
    again, _ = run(tmp_path / "killed", crop_file, log=lines.append)
    assert any(line.startswith("step 3 of 6") for line in lines)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_the_state_of_another_run_is_not_gone_on_with(tmp_path, crop_file, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        kill_at(3, patch)
        with pytest.raises(KilledError):
            run(tmp_path, crop_file)
    lines = []
    run(tmp_path, crop_file, learning_rate=2e-2, log=lines.append)
    assert any(line.startswith("step 0 of 6") for line in lines)


def test_changed_pixels_are_another_run(tmp_path, crop_file, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        kill_at(3, patch)
        with pytest.raises(KilledError):
            run(tmp_path, crop_file)
    store = CropStore(crop_file)
    images = store.read(np.arange(len(store)))
    images[0, 2, 16, 16] ^= 1
    write_h5sc(tmp_path / "changed.h5sc", store.obs, images, field_um=51.2)
    lines = []
    run(tmp_path, tmp_path / "changed.h5sc", log=lines.append)
    assert any(line.startswith("step 0 of 6") for line in lines)


TERM, USR1, INT = signal.SIGTERM, signal.SIGUSR1, signal.SIGINT


@pytest.mark.parametrize("numbers", [[TERM], [INT], [TERM, TERM], [USR1, TERM, TERM], [INT, TERM]])
def test_asked_to_end_it_saves_first_and_goes_on_to_the_same_weights(tmp_path, crop_file, monkeypatch, numbers) -> None:
    """However often it is asked, and though those that read ahead for it are asked as well, as Slurm does."""
    settings = {"ema": 0.9, "select": "embedding_rank", "validate_every": 1, "workers": len(numbers) - 1}
    weights, curves = run(tmp_path / "whole", crop_file, **settings)
    take = TrainingLoop.step

    def interrupted(self, step, *args, **more):
        if step == 2:
            for number in numbers:
                for process in (*multiprocessing.active_children(), multiprocessing.current_process()):
                    os.kill(process.pid, number)
        return take(self, step, *args, **more)

    before = [signal.getsignal(number) for number in (TERM, USR1, INT)]
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "step", interrupted)
        with pytest.raises(SubcellError, match="asked to end; saved after step 3 of 6, run again to go on"):
            run(tmp_path / "ended", crop_file, **settings)
    assert [signal.getsignal(number) for number in (TERM, USR1, INT)] == before
    lines = []
    again, curves_again = run(tmp_path / "ended", crop_file, log=lines.append, **settings)
    assert any(line.startswith("step 3 of 6") for line in lines)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    pd.testing.assert_frame_equal(curves, curves_again)


@pytest.fixture
def listening():
    """What starts tests in the background may have told them to ignore the keyboard."""
    before = signal.signal(INT, signal.default_int_handler)
    yield
    signal.signal(INT, before)


@pytest.mark.usefixtures("listening")
def test_a_second_interrupt_from_the_keyboard_does_not_wait() -> None:
    with stop_requests() as asked:
        signal.raise_signal(INT)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(INT)
    with stop_requests(interruptible=False) as asked:
        for _ in range(3):
            signal.raise_signal(INT)
        assert asked()


def test_a_large_batch_s_means_resume_alike(tmp_path, crop_file, monkeypatch) -> None:
    """In parts, in bfloat16, with activations computed again, landmarks dropped, locations as positives."""
    settings = {
        "recipe": "mae-cells-prots-pool",
        "objective": {"drop_landmarks": 0.3, "scaling": "percentile", "object_mask_ratio": 0.5},
        "positives": "locations",
        "spare": "gene",
        "clip": "together",
        "precision": "bf16",
        "cells_per_pass": 3,
        "checkpoint_activations": True,
    }
    weights, curves = run(tmp_path / "whole", crop_file, **settings)
    assert np.isfinite(curves["value"]).all()
    with monkeypatch.context() as patch:
        kill_at(5, patch)
        with pytest.raises(KilledError):
            run(tmp_path / "killed", crop_file, **settings)
    again, curves_again = run(tmp_path / "killed", crop_file, **settings)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    pd.testing.assert_frame_equal(curves, curves_again)


def test_a_damaged_state_is_said(tmp_path, crop_file) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "last.ckpt").write_bytes(b"PK\x03\x04 half of a file")
    with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged .*; delete it to train from the beginning"):
        run(tmp_path, crop_file)


def test_the_best_validation_is_written_and_the_last_ones_stay(tmp_path, crop_file) -> None:
    settings = {"epochs": 5, "validate_every": 1, "select": "embedding_rank", "checkpoints": 2}
    weights, curves = run(tmp_path, crop_file, **settings)
    ranks = curves[(curves["metric"] == "embedding_rank")].set_index("step")["value"]
    _, config = load_encoder(tmp_path / "checkpoint.safetensors")
    assert (config["selected_by"], config["selected_step"]) == ("embedding_rank", ranks.idxmax())
    assert config["selected_value"] == pytest.approx(ranks.max())
    kept = {int(path.stem[5:]): path for path in (tmp_path / "state").glob("step_*.safetensors")}
    assert set(kept) == {8, 10, int(ranks.idxmax())}
    best, about = load_encoder(kept[int(ranks.idxmax())])
    assert about["step"] == ranks.idxmax()
    assert all(torch.equal(weight, weights[name]) for name, weight in best.state_dict().items())


def test_a_metric_that_no_validation_had_leaves_the_last_weights(tmp_path, crop_file) -> None:
    last, _ = run(tmp_path / "last", crop_file, epochs=1)
    retrieval, _ = run(tmp_path / "retrieval", crop_file, epochs=1, select="retrieval")  # an antibody has one well here
    assert all(torch.equal(last[name], retrieval[name]) for name in last)
