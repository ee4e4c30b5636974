"""The whole of docs/evidence.md from made-up sets: what is trained on, what is kept, what the document says."""

import numpy as np
import pandas as pd
import pytest
from evidence_example import (
    cells_of_drugs,
    cells_of_fields,
    part_of_evidence,
    write_crops,
    write_map,
    write_pretrained,
    write_wells,
)

from subcell.crops.store import CropStore
from subcell.errors import CheckpointError

fields = part_of_evidence("hpa_fields")
models = part_of_evidence("models")
written = part_of_evidence("write")

TRAINED = ("continued", "from nothing, channel", "from nothing, minmax")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, crop_file):
    return write_pretrained(tmp_path_factory.mktemp("pretrained"), crop_file)


@pytest.fixture(scope="module")
def made(tmp_path_factory, pretrained):
    """Document and table of a run, and the lines that it logged."""
    folder = tmp_path_factory.mktemp("evidence")
    write_crops(folder / "results/hpa_fields/crops/0000.h5sc", cells_of_fields())
    write_crops(folder / "data/real_cells/bbbc021.h5sc", cells_of_drugs(), pixels=24, field_um=60.0)
    write_wells(folder / "data/real_vectors/bbbc021_wells.h5ad")
    write_map(folder / "results/hyperlopit/mass_spectrometry", folder / "data/real_vectors/hyperlopit_u2os.h5ad")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.TRAINING, "epochs", 1)
        lines = []
        out = folder / "evidence.md"
        table = written.write(folder / "data", folder / "results", pretrained, out, log=lines.append)
        yield folder, table, lines, out.read_text()


def test_the_document_holds_every_row_with_its_interval_and_leaves_nothing_unfilled(made):
    _, table, _, text = made
    assert "$" not in text
    assert "nan" not in text
    for row in table.to_dict("records"):
        assert f"| {row['model']} | {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}) |" in text
    for task in ("halves", "same location", "locations", "compound across plates", "mechanism"):
        found = set(table.loc[table["task"] == task, "model"])
        assert found >= {"shortcuts", "handcrafted", "untrained, minmax", "untrained, channel", "pretrained", *TRAINED}
    assert set(table.loc[table["seeds"] == 1, "model"]) == set(TRAINED)


def test_trainings_see_the_training_side_alone(made):
    folder, *_ = made
    for name, deal in (("hpa_fields", fields.deal_fields), ("bbbc021", part_of_evidence("bbbc021").deal_compounds)):
        place = folder / "results" / f"scores_{name}"
        cells = CropStore(place / "cells.h5sc").obs
        for number in (0, 1):
            learned = CropStore(place / f"train_{number}.h5sc").obs
            assert set(learned.index) == set(cells.index[deal(cells) != number])
            assert learned["split"].isna().all()


def test_a_second_run_trains_and_embeds_nothing_and_says_the_same(made, pretrained):
    folder, table, _, text = made
    lines = []
    again = written.write(folder / "data", folder / "results", pretrained, folder / "again.md", log=lines.append)
    assert not [line for line in lines if "embedding" in line]
    assert (folder / "again.md").read_text() == text
    pd.testing.assert_frame_equal(again, table)


def test_without_trainings_their_rows_are_left_out_and_the_document_says_so(made, pretrained):
    folder, *_ = made
    out = folder / "short.md"
    table = written.write(folder / "data", folder / "results", pretrained, out, trainings=False, log=lambda line: None)
    assert not set(table["model"]) & set(TRAINED)
    assert "left out" in out.read_text()


def test_crops_that_the_pretrained_network_does_not_take_are_refused(tmp_path, pretrained):
    crops = write_crops(tmp_path / "crops.h5sc", cells_of_fields(), pixels=48)
    with pytest.raises(CheckpointError, match=r"32 px at 1\.600 um.*48 px.*evidence\.yaml"):
        fields.run(crops, models.Pretrained.read(pretrained), tmp_path / "out", log=lambda line: None)


def test_the_verdict_follows_the_interval_of_the_paired_difference():
    rows = pd.DataFrame({"task": ["t"] * 2, "model": ["pretrained", "handcrafted"], "value": [0.4, 0.5]})
    for low, high, words in ((0.01, 0.2, "above"), (-0.2, -0.01, "below"), (-0.1, 0.1, "not told from")):
        said = written.verdict(rows.assign(over_low=low, over_high=high))
        assert f"is {words} the untrained one" in said
        assert "no higher than handcrafted" in said


def test_a_cell_of_a_table_cannot_break_it():
    text = written.markdown(pd.DataFrame({"name": ["a|b", None], "value": [1.0, np.nan]}), {"value": ".2f"})
    assert text.splitlines() == ["| name | value |", "| --- | --- |", "| a/b | 1.00 |", "|  |  |"]
