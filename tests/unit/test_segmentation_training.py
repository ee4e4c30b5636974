"""Training examples, their augmentation, and a training of a few steps."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_erosion

from subcell.errors import SheetError
from subcell.imaging.ledger import ledger_table, write_ledger
from subcell.segmentation.augmentation import augmented
from subcell.segmentation.examples import Example, from_labelled_nuclei, from_simulated, median_diameter_px
from subcell.segmentation.network import load_networks
from subcell.segmentation.training import new_network, train_compact, train_network


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def discs(size=96, radius=14):
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for number, (centre_y, centre_x) in enumerate(((24, 30), (60, 66)), start=1):
        labels[np.hypot(y - centre_y, x - centre_x) < radius] = number
    return labels


@pytest.fixture
def simulated(tmp_path):
    """A folder of one field with ledger, as the simulator writes it."""
    folder = tmp_path / "world"
    folder.mkdir()
    labels = discs()
    planes = {
        **dict.fromkeys(("microtubules", "er", "nucleus", "protein"), ((labels > 0) * 200).astype(np.uint8)),
        **dict.fromkeys(("reference_nuclei", "reference_cells"), labels.astype(np.uint16)),
    }
    rows = []
    for channel, plane in planes.items():
        Image.fromarray(plane).save(folder / f"{channel}.png")
        rows.append({"field_id": "f", "channel": channel, "file": f"{channel}.png", "status": "ok"})
    write_ledger(folder, ledger_table(rows))
    return folder


@pytest.fixture
def labelled(tmp_path):
    folder = tmp_path / "nuclei"
    folder.mkdir()
    pd.DataFrame({"image_id": ["a", "b"], "split": ["train", "valid"]}).to_csv(folder / "images.csv", index=False)
    for name, radius in (("a", 7), ("b", 20)):
        labels = discs(radius=radius)
        Image.fromarray(((labels > 0) * 90).astype(np.uint8)).save(folder / f"{name}.png")
        Image.fromarray(labels.astype(np.uint16)).save(folder / f"{name}_nuclei.png")
    return folder


def test_simulated_fields_give_examples_for_both_networks(simulated):
    (example,) = from_simulated([simulated], working_um_per_px=0.32, seed=1, pixel_sizes_um=[0.32])
    assert example["nuclei"].image.shape == (1, 96, 96)
    assert example["cells"].image.shape == (3, 96, 96)
    assert example["cells"].labels.shape == (48, 48)
    assert example["cells"].flows.shape == (2, 48, 48)
    (finer,) = from_simulated([simulated], working_um_per_px=0.32, seed=1, pixel_sizes_um=[0.64])
    assert finer["cells"].labels.shape == (96, 96)


def test_labelled_nuclei_come_at_the_size_of_hpas(labelled):
    (example,) = from_labelled_nuclei(labelled, working_um_per_px=0.32)
    # 14 um at 0.64 um a pixel of the prediction
    assert median_diameter_px(example.labels) == pytest.approx(14 / 0.64, rel=0.06)
    assert example.image.shape == (1, 96, 96)
    assert example.zoom == pytest.approx(96 / example.labels.shape[0])


def test_a_sheet_of_labelled_nuclei_that_cannot_be_read(tmp_path):
    with pytest.raises(SheetError, match=r"images\.csv"):
        list(from_labelled_nuclei(tmp_path, working_um_per_px=0.32))
    (tmp_path / "images.csv").write_text("image_id\na\n")
    with pytest.raises(SheetError, match="split"):
        list(from_labelled_nuclei(tmp_path, working_um_per_px=0.32))


def test_flows_turn_with_the_picture(labelled):
    """In every crop, flows point to the middle of their object, and objects lie where the picture is bright."""
    (example,) = from_labelled_nuclei(labelled, working_um_per_px=0.32)
    rng = np.random.default_rng(3)
    seen = 0
    for _ in range(12):
        image, targets = augmented(example, rng, crop_px=128)
        assert image.shape == (1, 128, 128)
        assert targets.shape == (3, 64, 64)
        inside = targets[2] > 0
        if inside.sum() < 50:
            continue
        seen += 1
        small = image[0].reshape(64, 2, 64, 2).mean(axis=(1, 3))
        assert small[inside].mean() > small[~inside].mean()
        # A disc's flow converges: its divergence is negative, away from the edge where it jumps to zero.
        divergence = np.gradient(targets[0], axis=0) + np.gradient(targets[1], axis=1)
        assert divergence[binary_erosion(inside, iterations=2)].mean() < 0
        assert np.hypot(*targets[:2])[inside].mean() == pytest.approx(1, abs=0.05)
    assert seen > 6


def test_a_missing_stain_is_part_of_the_training():
    example = Example(
        np.ones((3, 96, 96), np.float16), np.ones((48, 48), np.int32), np.zeros((2, 48, 48), np.float16), 2.0
    )
    rng = np.random.default_rng(0)
    dark = [(augmented(example, rng, crop_px=32)[0].max(axis=(1, 2)) == 0).tolist() for _ in range(60)]
    assert [True, False, False] in dark
    assert [False, True, False] in dark
    assert not any(missing[2] and missing != [True] * 3 for missing in dark)


def test_a_network_learns_what_it_is_shown(labelled):
    examples = list(from_labelled_nuclei(labelled, working_um_per_px=0.32))
    losses = []
    train_network(
        new_network("nuclei", seed=0),
        [examples],
        steps=200,
        seed=0,
        batch=2,
        crop_px=96,
        log=lambda line: losses.append(float(line.rpartition(" ")[2])),
    )
    assert losses[1] < 0.8 * losses[0]


def test_the_same_seed_and_steps_give_the_same_weights(tmp_path, simulated, labelled):
    def train(name, seed):
        train_compact(
            tmp_path / name,
            labelled=labelled,
            simulated=[simulated],
            steps=3,
            batch=2,
            crop_px=64,
            seed=seed,
            log=lambda _: None,
        )
        return load_networks(tmp_path / name)[0]["cells"].state_dict()

    one, same, other = train("a", 1), train("b", 1), train("c", 2)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)
