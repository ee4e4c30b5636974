"""Pictures of fields, cells, curves, maps and scores."""

import numpy as np
import pandas as pd
import pytest
import report_example as example
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from PIL import Image

from subcell.reporting.figures import gallery
from subcell.reporting.figures.canvas import figure_bytes, shown_text
from subcell.reporting.figures.composite import composite, round_length, shrink, stretch
from subcell.reporting.figures.exports import Figures
from subcell.reporting.figures.figures import (
    agreement_figure,
    comparison_figure,
    map_figure,
    quality_figure,
    training_figure,
)
from subcell.reporting.figures.gallery import crop_gallery, field_gallery, line_gallery, spread_over
from subcell.reporting.figures.pictures import inlined_picture
from subcell.reporting.scores.leaderboard import leaderboard
from subcell.reporting.scores.results import counted, grouped, interval, number, score_tables, signed
from subcell.segmentation.masks import open_masks


def texts(figure: Figure) -> str:
    """All text of a figure."""
    return " ".join(t.get_text() for t in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_composite_of_single_stains():
    planes = np.eye(4, dtype=np.float32).reshape(4, 2, 2)
    red, yellow, blue, green = composite(planes).reshape(4, 3)
    assert red.argmax() == 0
    assert blue.argmax() == 2
    assert green.argmax() == 1
    assert yellow[0] > 0
    assert yellow[2] == 0
    assert yellow.sum() < red.sum()


def test_stretch_of_constant_and_of_sparse_planes():
    assert not stretch(np.full((4, 4), 7, np.uint8)).any()
    sparse = np.zeros((100, 100), np.uint16)
    sparse[0, 0] = 900
    assert stretch(sparse).max() == 1


def test_shrinking_keeps_labels_whole():
    labels = np.zeros((1, 100, 60), np.int32)
    labels[0, 20:60, 10:30] = 9
    image, small, factor = shrink(np.ones((4, 100, 60), np.uint8), labels, side_px=50)
    assert factor == 2
    assert image.shape == (4, 50, 30)
    assert set(np.unique(small)) == {0, 9}
    assert (small == 9).sum() == 20 * 10


@pytest.mark.parametrize(("width", "length"), [(82.0, 20), (40.0, 10), (20.0, 5), (7.9, 1), (800, 200)])
def test_scale_bar_has_a_round_length(width, length):
    assert round_length(width) == pytest.approx(length)


def test_galleries_show_fields_and_cells(tmp_path):
    rng = np.random.default_rng(0)
    fields = example.example_fields(["<b>$x_1$", "日本語", "f2"], pixel_size_um=[0.32, 0.32, float("nan")])
    drawn = {name: example.draw_field(rng) for name in fields["field_id"]}
    example.write_images(tmp_path / "images", fields, {name: image for name, (image, _, _) in drawn.items()})
    example.write_masks(tmp_path / "masks.zarr", {name: labels for name, (_, *labels) in drawn.items()})
    field_gallery([tmp_path / "images"], [tmp_path / "masks.zarr"], fields, tmp_path / "fields.png")
    with Image.open(tmp_path / "fields.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), int)
    assert pixels.shape[1] > 1500
    blue = (pixels[..., 2] > 150) & (pixels[..., 2] > pixels[..., 0] + 60)
    assert blue.mean() > 0.01  # nuclei
    example.write_crops(tmp_path / "crops.h5sc", fields)
    crop_gallery(tmp_path / "crops.h5sc", tmp_path / "crops.png")
    with Image.open(tmp_path / "crops.png") as picture:
        assert picture.height > 600


def test_galleries_of_nothing_say_so(tmp_path):
    fields = example.example_fields(["f0"])
    example.write_images(tmp_path / "images", fields, {"f0": np.zeros((4, 32, 32), np.uint8)})
    example.write_masks(tmp_path / "masks.zarr", {})
    field_gallery([tmp_path / "images"], [tmp_path / "masks.zarr"], fields, tmp_path / "fields.png")
    example.write_crops(tmp_path / "crops.h5sc", fields.iloc[:0])
    crop_gallery([tmp_path / "crops.h5sc"], tmp_path / "crops.png")
    for name in ("fields.png", "crops.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.height < 300


def said(monkeypatch) -> list[str]:
    """The sentences that stand for pictures."""
    sentences: list[str] = []
    draw = gallery.text_figure
    monkeypatch.setattr(gallery, "text_figure", lambda text: sentences.append(text) or draw(text))
    return sentences


def test_fields_are_shown_whichever_shard_holds_them(tmp_path, monkeypatch):
    sentences, opened = said(monkeypatch), []
    monkeypatch.setattr(gallery, "open_masks", lambda path: opened.append(path.name) or open_masks(path))
    shards = range(5)
    fields = example.example_fields(["a", "b"], shard=[3, 1])
    image, *labels = example.draw_field(np.random.default_rng(0))
    for shard in shards:
        mine = fields[fields["shard"] == shard]
        example.write_images(tmp_path / f"{shard}", mine, dict.fromkeys(mine["field_id"], image))
        example.write_masks(tmp_path / f"{shard}.zarr", dict.fromkeys(mine["field_id"], labels))
    images, masks = ([tmp_path / f"{shard}{end}" for shard in shards] for end in ("", ".zarr"))
    field_gallery(images, masks, fields, tmp_path / "fields.png", n=2)
    assert sentences == []
    assert sorted(opened) == ["1.zarr", "3.zarr"]
    field_gallery(images, masks, fields.iloc[:0], tmp_path / "fields.png")
    assert sentences == ["No field was segmented, so there is none to show."]


def test_cells_are_shown_whichever_shard_holds_them(tmp_path, monkeypatch):
    sentences = said(monkeypatch)
    fields = example.example_fields(["a", "b"])
    paths = [tmp_path / f"{shard}.h5sc" for shard in range(3)]
    for path, part in zip(paths, (fields.iloc[:0], fields.iloc[:1], fields.iloc[1:]), strict=True):
        example.write_crops(path, part)
    line_gallery(paths, tmp_path / "lines.png")
    crop_gallery(paths, tmp_path / "crops.png")
    assert sentences == []
    line_gallery(paths[:1], tmp_path / "lines.png")
    assert sentences.pop() == "No cell was cropped, so there is none to show."
    example.write_crops(paths[0], fields.assign(cell_line=None))
    line_gallery(paths[:1], tmp_path / "lines.png")
    assert "are not known" in sentences.pop()
    # What lies behind enough cells is not opened.
    monkeypatch.setattr(gallery, "ENOUGH_CELLS", 3)
    crop_gallery([paths[1], tmp_path / "damaged.h5sc"], tmp_path / "crops.png")


def test_crops_without_locations_or_genes(tmp_path):
    fields = example.example_fields(["f0", "f1"], locations=[None, None], gene=[None, None])
    example.write_crops(tmp_path / "crops.h5sc", fields)
    crop_gallery(tmp_path / "crops.h5sc", tmp_path / "crops.png")
    with Image.open(tmp_path / "crops.png") as picture:
        assert picture.width > picture.height


def test_first_fields_differ_most():
    table = pd.DataFrame(
        {
            "field_id": list("abcdef"),
            "locations": ["x", "x", "x", "y", "y", None],
            "cell_line": ["1", "2", "1", "1", "2", "1"],
        }
    )
    assert list(spread_over(table, "locations", "cell_line")["field_id"]) == ["a", "e", "f", "b", "d", "c"]


def test_training_figure_has_a_panel_a_metric(tmp_path):
    example.write_training(tmp_path / "t.parquet", epochs=6)
    figure = training_figure(pd.read_parquet(tmp_path / "t.parquet"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Loss", "Macro average precision", "Cell-specific loss", "Protein-specific loss", "Reconstruction loss",
    ]  # fmt: skip
    assert "Validation" in texts(figure)
    empty = pd.DataFrame(columns=["step", "epoch", "split", "metric", "value"])
    assert "Training logged nothing" in texts(training_figure(empty))


def test_map_figure_has_a_panel_a_location_and_level():
    points = np.random.default_rng(0).normal(size=(4, 2))
    obs = pd.DataFrame(
        {
            "locations": ["A;B", "A", None, "$a$"],
            "level_1": list("0011"),
            "level_10": list("0123"),
            "level_2": list("0012"),
        }
    )
    figure = map_figure(points, obs)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["A (2)", "$a$ (1)", "B (1)", "Level 1: 2 clusters", "Level 2: 3 clusters", "Level 10: 4 clusters"]
    assert "needs 3 proteins" in texts(map_figure(points, obs, reason="needs 3 proteins"))


def test_comparison_figure_shows_models_and_chance():
    scores = pd.DataFrame({"model": ["b", "a"], "value": [0.2, 0.7], "low": [0.1, np.nan], "high": [0.3, np.nan]})
    figure = comparison_figure(scores, metric="macro_ap", chance=0.125)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a"]  # upwards: the best on top
    assert "chance 0.125" in texts(figure)


def test_drawing_twice_gives_the_same_bytes():
    points = np.random.default_rng(0).normal(size=(5, 2))
    obs = pd.DataFrame({"level_1": list("00112")})
    for kind in ("svg", "png"):
        assert figure_bytes(map_figure(points, obs), kind) == figure_bytes(map_figure(points, obs), kind)


def test_pictures_fit_into_their_share(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    inlined = inlined_picture(tmp_path / "noise.png", max_bytes=200_000)
    assert inlined["uri"].startswith("data:image/jpeg;base64,")
    assert len(inlined["uri"]) < 200_000 * 4 / 3 + 100
    assert 400 <= inlined["width"] <= 1200


def test_figures_of_many_points_become_pixels_in_the_page_and_stay_lines_in_the_folder(tmp_path):
    points = np.random.default_rng(0).normal(size=(3000, 2))
    figure = map_figure(points, pd.DataFrame({"level_1": ["0"] * 3000}))
    assert Figures(max_bytes=10_000_000).add("map", figure)["uri"].startswith("data:image/svg+xml;base64,")
    figures = Figures(max_bytes=1_000)
    shown = figures.add("a map/of <b>", figure, pd.DataFrame({"x": [1.5]}))
    assert shown["uri"].startswith("data:image/png;base64,")
    assert (shown["kind"], shown["width"], shown["height"]) == ("png", 259, 528)
    figures.write(tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"a-map-of-b.svg", "a-map-of-b.csv"}
    assert (tmp_path / "report" / "a-map-of-b.csv").read_text() == "x\n1.5\n"
    figures.write(tmp_path / "report")  # again, over what is there


def test_quality_figure_rings_what_is_unusual():
    fields = pd.DataFrame({
        "cell_line": ["A"] * 4 + ["<b>"] * 4, "cells": range(8), "nucleus_area_um2": np.nan, "cell_area_um2": 500.0,
        "focus": 0.5, "saturated_fraction": 0.0, "agreement_f1": np.nan, "unusual": ["focus"] + [""] * 7,
    })  # fmt: skip
    figure = quality_figure(fields)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Cells a field", "Cell, median, µm²", "Focus of the DNA channel", "Saturated pixels, share",
    ]  # fmt: skip
    dots = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    ringed = [c for c in dots if len(c.get_sizes()) and c.get_sizes()[0] == 36]
    assert sum(len(collection.get_offsets()) for collection in ringed) == 1


def test_agreement_figure_has_a_panel_a_reference():
    # Between two levels the curve goes through clusters of no level.
    steps = [(1, 3), (np.nan, 5), (2, 9)]
    rows = [(level, clusters, name, 0.5, 0.1, np.nan) for level, clusters in steps for name in ("CORUM", "GO")]
    table = pd.DataFrame(rows, columns=["level", "clusters", "reference", "value", "shuffled", "random"])
    figure = agreement_figure(table)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["CORUM", "GO"]
    curve, _shuffled = figure.axes[0].lines  # random vectors were not tried
    assert list(curve.get_xdata()) == [3, 5, 9]
    assert curve.get_markevery() == [0, 2]


def test_text_for_figures():
    assert shown_text(None) == shown_text(float("nan")) == ""
    assert shown_text("a\nb\x00 c") == "a b c"
    assert shown_text("x" * 50, longest=10) == "x" * 9 + "…"
    assert shown_text("abcdefgh-1", longest=6, keep_end=2) == "abc…-1"


def test_numbers_as_text():
    assert number(-0.0712) == "−0.071"
    assert number(None) == number(float("nan")) == "–"
    assert signed(0.5) == "+0.500"
    assert interval(0.1, 0.25) == "0.100 to 0.250"
    assert interval(0.1, None) == ""
    assert interval(-0.1, 0.2, sign=True) == "−0.100 to +0.200"
    assert counted(21, "antibody") == "21 antibodies"
    assert counted(1, "field") == "1 field"
    assert grouped(12345.0) == "12\u2009345"


def test_differences_are_marked_only_where_the_interval_leaves_out_zero():
    results = [
        {
            **{"dataset": "d", "model": model, "benchmark": "localization", "status": "ok"},
            "metrics": [{"metric": "macro_ap", "value": 0.5, "n": 3 if model == "worse" else 4}],
        }
        for model in ("worse", "better", "unclear")
    ]
    results.append({**results[0], "benchmark": "cell_line", "status": "not run", "reason": "not run: needs lines"})
    board = leaderboard(results, models={result["model"]: {"kind": "subcell"} for result in results})
    board[["difference_low", "difference_high"]] = [[-0.3, -0.1], [0.1, 0.3], [-0.1, 0.3], [np.nan, np.nan]]
    board["difference"] = (board["difference_low"] + board["difference_high"]) / 2
    table = score_tables(board, results, models=["better", "unclear", "worse"])["d"]
    (row,) = table["benchmarks"]
    assert [cell["beats"] for cell in row["cells"]] == [1, 0, -1]
    assert row["n"] is None  # differs between models, so each cell says it
    assert row["informative"] is None
    assert table["models"] == ["better", "unclear", "worse"]
    assert table["not_run"] == {"cell_line": "needs lines"}
