"""Data of the explorer: what is packed unpacks to the same, cells stand where their proteins do."""

import base64
import json

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import report_example as example

from subcell.crops.store import CropStore
from subcell.reporting.explorer.cells_on_map import CellsOnMap, place_cells
from subcell.reporting.explorer.explorer import describe_cluster, write_explorer
from subcell.reporting.explorer.expression_of_units import expression_of_units
from subcell.reporting.explorer.packing import (
    coded,
    enclosing_square,
    inert_json,
    packed,
    packed_column,
    packed_lists,
    packed_positions,
)
from subcell.reporting.explorer.tiles import CHOICES, choose_cells, choose_size, draw_tiles


def unpack(entry):
    return np.frombuffer(base64.b64decode(entry["data"]), "<" + entry["type"])


@pytest.mark.parametrize(
    ("values", "kind"),
    [([0, 255], "u1"), ([256], "u2"), ([70_000], "u4"), ([-1, 3], "i4"), ([0.5, np.nan], "f4"), ([], "f4")],
)
def test_packed_arrays_take_the_smallest_type(values, kind):
    entry = packed(np.array(values))
    assert entry["type"] == kind
    np.testing.assert_array_equal(unpack(entry), np.array(values, np.float32 if kind == "f4" else np.int64))


def test_positions_keep_their_proportions():
    points = np.array([[0.0, 0.0], [10.0, 0.0], [5.0, 2.0]])
    low, side = enclosing_square(points, margin=0)
    entry = packed_positions(points, low=low, side=side)
    assert unpack(entry["x"]).tolist() == [0, 65535, 32768]
    y = unpack(entry["y"]).astype(float) / 65535 * side
    np.testing.assert_allclose(y - y[0], [0, 0, 2], atol=1e-3)
    assert enclosing_square(np.zeros((0, 2)))[1] == 1


def test_columns_that_tell_nothing_are_left_out():
    assert packed_column(pd.Series([1.0, 1.0]), title="constant") is None
    assert packed_column(pd.Series(["a", "b", "c"]), title="names") is None
    assert packed_column(pd.Series([None, None]), title="empty") is None
    number = packed_column(pd.Series([1.0, None, 3.0]), title="number")
    assert np.isnan(unpack(number["values"])[1])
    flag = packed_column(pd.Series([True, False, True]), title="flag")
    assert flag["categories"] == ["yes", "no"]
    category = packed_column(pd.Series(["b", "a", "b", None]), title="category")
    assert category["categories"] == ["b", "a"]
    assert unpack(category["codes"]).tolist() == [0, 1, 0, 2]


def test_lists_of_locations():
    column = packed_lists(["Cytosol; Nucleoli", None, "Nucleoli"], title="Locations")
    assert column["categories"] == ["Nucleoli", "Cytosol"]
    assert unpack(column["starts"]).tolist() == [0, 2, 2, 3]
    assert unpack(column["codes"]).tolist() == [1, 0, 0]
    assert packed_lists([None, ""], title="Locations") is None
    assert coded(["x", "?", None], ["y", "x"]).tolist() == [1, 2, 2]


def test_json_cannot_end_its_script_element():
    value = {"name": "</script><script>alert(1)</script>&<!--"}
    text = inert_json(value)
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


def test_pictures_shrink_with_the_number_of_units():
    sizes = [choose_size(units, max_bytes=1_500_000) for units in (10, 100, 1000, 13_000)]
    assert sizes[0] == CHOICES[0]
    assert [cells * side**2 for cells, side in sizes] == sorted((c * s**2 for c, s in sizes), reverse=True)
    assert sizes[-1] == CHOICES[-1]


def test_cells_of_a_unit_go_from_typical_to_unusual():
    unit = np.array([0, 0, 0, 0, 1, 2])
    distance = np.array([3.0, 1.0, 2.0, 0.5, 1.0, 0.1])
    whole = np.array([True, True, True, False, False, True])
    chosen = choose_cells(unit, distance, whole, units=2, most=3)
    assert chosen[0].tolist() == [1, 2, 0]  # the nearest one is cut by the border
    assert chosen[1].tolist() == [4]  # but taken where there is no other


@pytest.fixture
def atlas(tmp_path):
    genes = [f"G{i}" for i in range(8)]
    fields = example.example_fields([f"f{i}" for i in range(8)], gene=genes)
    example.write_crops(tmp_path / "crops.h5sc", fields, per_field=3)
    example.write_cells(tmp_path / "cells.h5ad", tmp_path / "crops.h5sc", features=6, attention=True)
    files = example.write_map(tmp_path, units=8, genes=genes)
    cells = anndata.read_h5ad(tmp_path / "cells.h5ad")
    means = np.stack([cells.X[(cells.obs["gene"] == gene).to_numpy()].mean(axis=0) for gene in genes])
    units = anndata.read_h5ad(files["map_h5ad"])
    example.anndata.AnnData(
        X=means, obs=units.obs, uns={"unit": "gene"}, obsm={"X_umap": units.obsm["X_umap"]}
    ).write_h5ad(files["map_h5ad"])
    return tmp_path, genes, means, units.obsm["X_umap"], files


def test_cells_stand_near_their_unit(atlas):
    folder, genes, means, points, _ = atlas
    placed = place_cells(folder / "cells.h5ad", units=genes, unit="gene", vectors=means, points=points, scaled=False)
    home = points[placed.unit]
    nearest = np.linalg.norm(points[None] - placed.points[:, None], axis=2).argmin(axis=1)
    assert (nearest == placed.unit).mean() > 0.9
    assert (
        np.linalg.norm(placed.points - home, axis=1).mean()
        < np.linalg.norm(points - points.mean(axis=0), axis=1).mean()
    )
    cells = anndata.read_h5ad(folder / "cells.h5ad")
    np.testing.assert_allclose(placed.distance, np.linalg.norm(cells.X - means[placed.unit], axis=1), rtol=1e-3)


def test_cells_of_other_vectors_have_no_place(atlas):
    folder, genes, means, points, _ = atlas
    other = {"unit": "gene", "points": points, "scaled": False}
    assert place_cells(folder / "cells.h5ad", units=genes, vectors=means[:, :2], **other) is None
    placed = place_cells(folder / "cells.h5ad", units=genes[:4], vectors=means[:4], **other | {"points": points[:4]})
    assert set(placed.unit) == {0, 1, 2, 3, 4}  # 4: on no unit of the map


def test_on_a_map_of_one_line_stand_cells_of_that_line(atlas):
    folder, genes, means, points, files = atlas
    cells = anndata.read_h5ad(folder / "cells.h5ad").obs["cell_line"].astype(str).to_numpy()
    line = cells[0]
    assert set(cells) > {line}
    common = {"unit": "gene", "vectors": means, "points": points, "scaled": False}
    placed = place_cells(folder / "cells.h5ad", units=genes, **common, line=line)
    np.testing.assert_array_equal(placed.unit < len(genes), cells == line)
    expression = folder / "rna.parquet"
    lines = sorted(set(cells))
    known = pd.DataFrame(np.arange(len(lines) * 7.0).reshape(-1, 7), [x.replace("-", "") for x in lines], genes[1:])
    known.rename_axis("cell_line").to_parquet(expression)
    write_explorer(
        folder / "line.json", **files, cells_h5ad=folder / "cells.h5ad", crops=[folder / "crops.h5sc"],
        dataset="d", model="m", line=line, expression=expression, simulated=False,
    )  # fmt: skip
    found = json.loads((folder / "line.json").read_text())
    shown = {column["name"]: column for column in found["columns"]}["expression"]
    np.testing.assert_array_equal(unpack(shown["values"]), [np.nan, *known.iloc[lines.index(line)]])
    assert (found["line"], found["cells"]["total"]) == (line, int((cells == line).sum()))
    assert all(caption.startswith(line) for caption in found["pictures"]["captions"])


def test_expression_is_the_mean_of_the_lines_by_whichever_name_the_table_has(tmp_path):
    known = pd.DataFrame([[1.0, 2], [3, 6], [90, 90]], ["U2OS", "A-431", "HeLa"], ["ENSG1", "ENSG2"])
    known.rename_axis("cell_line").to_parquet(tmp_path / "expression.parquet")
    obs = pd.DataFrame({"ensembl_id": ["ENSG2", None, "ENSG1"]}, ["TP53", "ACTB", "TUBB"])
    found = expression_of_units(tmp_path, obs, ["U-2 OS", "A431", "Hep-G2"])
    np.testing.assert_array_equal(found, [4, np.nan, 2])
    assert expression_of_units(tmp_path, obs, ["Hep-G2"]) is None
    assert expression_of_units(tmp_path, obs[[]], ["HeLa"]) is None


def test_tiles_are_the_cells_they_are_said_to_be(atlas):
    folder, _genes, *_ = atlas
    store = CropStore(folder / "crops.h5sc")
    ids = store.obs.index[::-1]
    chosen = [np.array([0, 2]), np.array([], int), np.array([23])]
    tiles = draw_tiles(store, ids, chosen, side_px=32)
    assert tiles.starts.tolist() == [0, 2, 2, 3]
    assert list(ids[tiles.cells]) == [store.obs.index[23], store.obs.index[21], store.obs.index[0]]
    assert draw_tiles(store, ids, [np.array([], int)], side_px=32) is None
    assert draw_tiles(store, pd.Index(["gone"]), [np.array([0])], side_px=32) is None


def test_explorer_of_a_map_with_everything_beside_it(atlas):
    folder, genes, _, _, files = atlas
    tables = example.write_tables_of_map(folder, genes)
    del tables["agreement"]
    common = {"cells_h5ad": folder / "cells.h5ad", "crops": [folder / "crops.h5sc"], "dataset": "d", "model": "m"}
    write_explorer(folder / "explorer.json", **files, **common, simulated=False, more=tables)
    found = json.loads((folder / "explorer.json").read_text())
    assert found["names"] == genes
    assert [level["level"] for level in found["levels"]] == [1, 2, 3, 4]
    for level, column in zip(
        found["levels"], anndata.read_h5ad(files["map_h5ad"]).obs.filter(like="level_"), strict=True
    ):
        names = [cluster["cluster"] for cluster in level["clusters"]]
        expected = anndata.read_h5ad(files["map_h5ad"]).obs[column].astype(str).tolist()
        assert [names[code] for code in unpack(level["codes"])] == expected
    assert found["levels"][0]["clusters"][0]["terms"][0]["term"] == "Ribosome"
    columns = {column["name"]: column for column in found["columns"]}
    assert columns["locations_by_neighbours"]["categories"] == ["Cytosol", "Nucleoli"]
    assert columns["transferred_terms"]["values"] == ["translation"] * 7 + [None]
    assert found["predicted"][0] == [["Cytosol", 0.9, 0.1], ["Nucleoli", 0.25, 0.1]]
    assert {column["name"] for column in found["columns"]} >= {"locations", "predicted_locations", "n_cells"}
    k = found["neighbors"]["k"]
    assert unpack(found["neighbors"]["codes"])[:2].tolist() == [1, 2]  # by rank, not by row
    assert set(unpack(found["neighbors"]["codes"])[k:]) == {8}  # no row, no neighbour
    assert found["cells"]["total"] == 24
    assert len(found["pictures"]["captions"]) == unpack(found["pictures"]["starts"])[-1] == 24
    attention = found["pictures"]["attention"]
    values = unpack(attention["values"]).reshape(24, attention["rows"], attention["columns"])
    assert 0 < (values > 0).mean() < 1

    write_explorer(folder / "again.json", **files, **common, simulated=False, more=tables)
    assert (folder / "again.json").read_bytes() == (folder / "explorer.json").read_bytes()


def test_attention_shows_where_it_is_more_than_even(tmp_path):
    maps = np.full((3, 2, 2, 2), 0.25, np.float16)
    maps[1] = [[0.125, 0.5], [0.25, 0.125]]  # twice as much as even, of all four patches
    maps[2] = [[0.3125, 0.25], [0.25, 0.1875]]
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file["obsm/attention"] = maps
    nothing = np.zeros(0)
    placed = CellsOnMap(tmp_path / "cells.h5ad", pd.DataFrame(), nothing, nothing, nothing)
    found = placed.attention_of(np.array([2, 0, 1]))
    np.testing.assert_array_equal(found, [[[64, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 255], [0, 0]]])


def test_neighbours_without_a_table_are_the_most_similar(atlas):
    folder, _genes, means, _, files = atlas
    common = {"cells_h5ad": folder / "cells.h5ad", "crops": [folder / "crops.h5sc"], "dataset": "d", "model": "m"}
    write_explorer(folder / "explorer.json", **files, **common, simulated=True)
    found = json.loads((folder / "explorer.json").read_text())["neighbors"]
    centred = means - means.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    similarity = centred @ centred.T
    np.fill_diagonal(similarity, -2)
    codes = unpack(found["codes"]).reshape(8, found["k"])
    np.testing.assert_array_equal(codes[:, 0], similarity.argmax(axis=1))
    assert all(row not in codes[row] for row in range(8))


@pytest.mark.parametrize(
    ("name", "q_value"),
    [("Ribosome (40%)", 0.02), ("Nucleoli (50%)", 0.3), ("no enriched term", None), ("all", None)],
)
def test_q_of_a_cluster_is_that_of_its_name(name, q_value):
    row = {"cluster": "1", "size": 9, "name": name, "top_location": "Nucleoli", "q_value": 0.3, "top_term": "Ribosome",
           "top_term_q_value": 0.02}  # fmt: skip
    assert describe_cluster(row).get("q_value") == q_value


def test_a_cluster_says_in_which_runs_it_was_found_again_and_in_which_not_looked_for():
    row = {"cluster": "1", "size": 9, "stability": 0.44, "stability_seeds": 1.0, "stability_bootstrap": 0.44,
           "stability_held_out": float("nan"), "stable": "False", "not_measured": "held_out"}  # fmt: skip
    said = describe_cluster(row)
    assert said["stability"] == 0.44
    assert said["stability_of"] == {"seeds": 1.0, "bootstrap": 0.44}
    assert (said["stable"], said["not_measured"]) == (False, "held_out")
    assert "stability_of" not in describe_cluster({"cluster": "1", "size": 9})


def test_vectors_from_elsewhere_have_no_pictures(atlas):
    folder, _, _, _, files = atlas
    write_explorer(
        folder / "explorer.json", **files, cells_h5ad=folder / "cells.h5ad", crops=[], dataset="d", model="m", simulated=False
    )  # fmt: skip
    found = json.loads((folder / "explorer.json").read_text())
    assert found["cells"]["total"] == 24
    assert found["pictures"] is None


def test_map_that_was_not_made_says_why(tmp_path, atlas):
    folder, _, _, _, files = atlas
    empty = anndata.AnnData(X=np.zeros((0, 6), np.float32), uns={"unit": "gene", "not_run": "needs gene"})
    empty.write_h5ad(tmp_path / "empty.h5ad")
    write_explorer(
        tmp_path / "e.json", map_h5ad=tmp_path / "empty.h5ad", clusters_tsv=files["clusters_tsv"], dataset="d", model="m",
        cells_h5ad=folder / "cells.h5ad", crops=[folder / "crops.h5sc"], simulated=False,
    )  # fmt: skip
    assert json.loads((tmp_path / "e.json").read_text())["reason"] == "needs gene"
