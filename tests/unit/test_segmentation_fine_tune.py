"""Fine-tuning on labelled fields, from the sheet to the score."""

import os

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image
from test_segmentation import PIXEL_UM, two_cells

from subcell.errors import SheetError
from subcell.segmentation.fine_tune import fine_tune, read_labelled
from subcell.segmentation.labelled import labelled_files
from subcell.segmentation.network import load_networks
from subcell.segmentation.segmenter import COMPACT_WEIGHTS


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def labelled_sheet(folder, fields=3):
    y, x = np.mgrid[:192, :192]
    rows = []
    for number in range(fields):
        image = np.roll(two_cells(size=192), 9 * number, axis=2)
        cells = np.zeros((192, 192), np.uint16)
        for label, (cy, cx) in enumerate(((100, 150), (190, 12)), start=1):
            cells[np.hypot(y - cy, x - (cx + 9 * number)) < 50] = label
        names = {name: f"{name}{number}.png" for name in ("microtubules", "er", "nucleus", "reference_cells")}
        for name, plane in zip(names.values(), [*image[:3], cells], strict=True):
            Image.fromarray(plane).save(folder / name)
        rows.append({"field_id": f"f{number}", "pixel_size_um": PIXEL_UM, **names})
    pd.DataFrame(rows).to_csv(folder / "sheet.csv", index=False)
    return folder / "sheet.csv"


def test_planes_of_a_file_are_read_and_their_file_is_an_input(tmp_path):
    sheet = labelled_sheet(tmp_path, fields=1)
    apart = read_labelled(sheet)[0]
    tifffile.imwrite(tmp_path / "f0.ome.tif", apart.image[:3], metadata={"axes": "CYX"})
    labels = apart.labels["cells"].astype(np.uint16)
    tifffile.imwrite(tmp_path / "l.ome.tif", np.stack([labels * 0, labels]), metadata={"axes": "CYX"})
    planes = {name: f"f0.ome.tif#c={number}" for number, name in enumerate(("microtubules", "er", "nucleus"))}
    table = pd.read_csv(sheet).assign(**planes, reference_cells="l.ome.tif#c=1")
    table.to_csv(sheet, index=False)
    one = read_labelled(sheet)[0]
    assert (one.image == apart.image).all()
    assert (one.labels["cells"] == apart.labels["cells"]).all()
    assert labelled_files(sheet) == [tmp_path / "f0.ome.tif", tmp_path / "l.ome.tif"]
    assert labelled_files(tmp_path / "nowhere.csv") == []
    table.assign(nucleus="f0.ome.tif#c=7").to_csv(sheet, index=False)
    with pytest.raises(SheetError, match=r"row 2 \(f0\): .*f0\.ome\.tif.*c=7"):
        read_labelled(sheet)


def test_training_changes_the_network_that_has_labels_and_scores_the_held_out_field(tmp_path):
    sheet = labelled_sheet(tmp_path)
    lines = []
    settings = {"sheet": sheet, "steps": 3, "held_out": 0.3, "batch": 2, "crop_px": 96, "log": lines.append}
    scores = fine_tune(tmp_path / "out" / "compact.safetensors", tmp_path / "scores.tsv", **settings)
    assert scores[["objects", "model", "fields", "true"]].to_numpy().tolist() == [
        ["cells", "before", 1, 2],
        ["cells", "after", 1, 2],
    ]
    assert pd.read_csv(tmp_path / "scores.tsv", sep="\t")["f1_50"].between(0, 1).all()
    assert "2 fields to train on, 1 held out" in lines[0]
    before, (after, about) = load_networks(COMPACT_WEIGHTS)[0], load_networks(tmp_path / "out" / "compact.safetensors")
    assert about["tuned_on"] == 2

    def changed(name):
        old, new = (networks[name].state_dict() for networks in (before, after))
        return any((old[key] != new[key]).any() for key in old)

    assert changed("cells")
    assert not changed("nuclei")


def cellpose_model(path, monkeypatch, *, full_size):
    """A file of Cellpose's network with random weights, as published ones would have to be downloaded."""
    from cellpose import vit
    from segment_anything.build_sam import _build_sam

    if not full_size:
        # The same network but for its transformer, of 2 blocks 32 wide instead of 24 blocks 1024 wide.
        monkeypatch.setattr(vit, "sam_model_registry", {"vit_l": lambda checkpoint: _build_sam(32, 2, 2, [0, 1])})
    torch.manual_seed(0)
    torch.save(vit.CPSAM().state_dict(), path)
    return path


@pytest.mark.parametrize(
    "full_size",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                not os.environ.get("SUBCELL_FULL_SIZE"),
                reason="takes gigabytes and minutes; set SUBCELL_FULL_SIZE=1 to run it",
            ),
        ),
    ],
)
def test_cellposes_own_training_changes_its_network_and_its_seed_repeats_it(tmp_path, monkeypatch, full_size):
    model = cellpose_model(tmp_path / "user_model", monkeypatch, full_size=full_size)
    # The rate of its first epoch is 0.
    steps = 2 if full_size else 8
    settings = {
        "sheet": labelled_sheet(tmp_path, fields=2),
        "model": str(model),
        "steps": steps,
        "log": lambda line: None,
    }

    def tuned(name, **more):
        path = tmp_path / name / "cellpose_model"
        scores = fine_tune(path, tmp_path / "scores.tsv", **settings, **more)
        assert scores[["objects", "model", "fields", "true"]].to_numpy().tolist() == [
            ["cells", "before", 1, 2],
            ["cells", "after", 1, 2],
        ]
        assert [file.name for file in path.parent.iterdir()] == ["cellpose_model"]
        return torch.load(path, weights_only=True)

    before, after = torch.load(model, weights_only=True), tuned("one")
    assert after.keys() == before.keys()
    assert (after["out.weight"] != before["out.weight"]).any()
    if full_size:
        return

    def same(one, other):
        return all(torch.equal(one[name], other[name]) for name in one)

    torch.rand(3)  # what ran before must not matter
    assert same(tuned("again", seed=1), after)
    # Both seeds hold out the same field, but other layers are skipped.
    assert not same(tuned("other", seed=2), after)


def test_sheets_that_cannot_be_used_say_why(tmp_path):
    sheet = labelled_sheet(tmp_path, fields=2)
    with pytest.raises(SheetError, match="names no sheet"):
        read_labelled(None)
    table = pd.read_csv(sheet)
    table.loc[0, "nucleus"] = "../outside.png"
    table.loc[1, "er"] = "missing.png"
    table.to_csv(sheet, index=False)
    with pytest.raises(SheetError, match=r"(?s)row 2 \(f0\): .*outside.*row 3 \(f1\): .*missing\.png"):
        read_labelled(sheet)
    table.drop(columns="reference_cells").to_csv(sheet, index=False)
    with pytest.raises(SheetError, match="lacks the columns reference_cells"):
        read_labelled(sheet)
    with pytest.raises(SheetError, match="leave none to train on"):
        fine_tune(tmp_path / "w.safetensors", tmp_path / "s.tsv", sheet=labelled_sheet(tmp_path, fields=1))
