"""The map: planted structure comes back, and units, tree and names are what they should be."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom

from subcell.atlas.clusters.graph import FEWEST, connect_and_lay_out
from subcell.atlas.clusters.leiden import best_overlaps, largest_parents
from subcell.atlas.clusters.plan import find_levels, steps_of
from subcell.atlas.knowledge.gene_sets import of_columns
from subcell.atlas.knowledge.naming import name_of, nearest_to_centre, top_locations
from subcell.atlas.map.map import TABLES, Settings, build_map, write_map
from subcell.atlas.outputs.tables import CLUSTER_COLUMNS
from subcell.atlas.units.units import aggregate, common_locations
from subcell.errors import ConfigError, SubcellError

NEAR = 1.5
"""Distance of subgroups, about the width of one: at low resolution they hold together."""


def nested_blobs(*, groups=3, subgroups=3, points=16, seed=0):
    """Points in `groups` far apart, each of `subgroups` close together; and both labels."""
    rng = np.random.default_rng(seed)
    outer = np.repeat(np.arange(groups), subgroups * points)
    inner = np.repeat(np.arange(groups * subgroups), points)
    far, near = 12 * np.eye(groups, 20), NEAR * np.eye(groups * subgroups, 20, k=groups)
    return far[outer] + near[inner] + 0.3 * rng.normal(size=(len(outer), 20)), outer, inner


def same_partition(one, other):
    pairs = set(zip(one, other, strict=True))
    return len(pairs) == len(set(one)) == len(set(other))


def cells_of(obs, vectors, **uns):
    obs = obs.set_axis(obs.index.map(lambda name: name if isinstance(name, str) else f"cell{name}"))
    return anndata.AnnData(X=np.asarray(vectors, np.float32), obs=obs, uns=uns)


def write_cells(path, obs, vectors, **uns):
    obs = obs.astype({name: "category" for name in obs.columns if obs[name].dtype == object})
    cells_of(obs, vectors, **uns).write_h5ad(path)
    return path


@pytest.fixture
def planted(tmp_path):
    """A file of cells, three a gene, whose genes form nested groups."""
    vectors, outer, inner = nested_blobs()
    genes = np.array([f"G{i:03d}" for i in range(len(vectors))])
    obs = pd.DataFrame(
        {
            "gene": np.repeat(genes, 3),
            "field_id": np.repeat(genes, 3),
            "locations": np.repeat([f"place {i};region {o}" for i, o in zip(inner, outer, strict=True)], 3),
            "split": "train",
        }
    )
    noise = 0.05 * np.random.default_rng(1).normal(size=(len(obs), vectors.shape[1]))
    return obs, np.repeat(vectors, 3, axis=0) + noise, outer, inner


def test_means_and_medians_of_the_cells_of_a_unit():
    obs = pd.DataFrame({"gene": ["B", "A", "B", "B", None, " "], "field_id": ["f1", "f2", "f1", "f3", "f4", "f5"]})
    values = [[0, 0], [5, 6], [3, 0], [9, 3], [99, 99], [99, 99]]
    means = aggregate(cells_of(obs, values), "gene", "mean")
    assert means.obs_names.tolist() == ["A", "B"]
    np.testing.assert_allclose(means.X, [[5, 6], [4, 1]])
    assert means.obs["n_cells"].tolist() == [1, 3]
    assert means.obs["n_fields"].tolist() == [1, 2]
    assert means.uns["cells_left_out"] == 2
    np.testing.assert_allclose(aggregate(cells_of(obs, values), "gene", "median").X, [[5, 6], [3, 0]])


def test_blocks_do_not_change_means(monkeypatch):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"gene": rng.choice(list("ABCDE"), 200), "field_id": "f"})
    cells = cells_of(obs, rng.normal(size=(200, 7)))
    whole = aggregate(cells, "gene").X
    monkeypatch.setattr("subcell.atlas.units.summaries.BLOCK_BYTES", 8 * 7 * 13)
    np.testing.assert_allclose(aggregate(cells, "gene").X, whole, rtol=1e-6)
    expected = pd.DataFrame(cells.X).groupby(obs["gene"].to_numpy()).mean()
    np.testing.assert_allclose(whole, expected, rtol=1e-5)


def test_wells_of_different_plates_stay_apart():
    obs = pd.DataFrame({"plate": ["1", "1", "2"], "well": ["A1", "A1", "A1"], "field_id": list("abc")})
    assert aggregate(cells_of(obs, np.zeros((3, 2))), "well").obs_names.tolist() == ["1:A1", "2:A1"]
    without = aggregate(cells_of(obs.assign(plate=None), np.zeros((3, 2))), "well")
    assert without.obs_names.tolist() == ["A1"]


def test_a_unit_that_nobody_has_gives_no_rows_and_a_reason():
    empty = aggregate(cells_of(pd.DataFrame({"field_id": ["a", "b"]}), np.ones((2, 3))), "gene")
    assert empty.shape == (0, 3)
    assert empty.uns["not_run"] == "needs gene"
    with pytest.raises(ConfigError, match="protein"):
        aggregate(cells_of(pd.DataFrame({"field_id": ["a"]}), np.ones((1, 3))), "protein")


def test_a_field_counts_once_however_many_cells_it_has():
    obs = pd.DataFrame(
        {"gene": "A", "field_id": ["f1"] * 8 + ["f2", "f3"], "locations": ["Nucleoli"] * 8 + ["Cytosol", "Cytosol"]}
    )
    assert aggregate(cells_of(obs, np.zeros((10, 1))), "gene").obs["locations"].tolist() == ["Cytosol"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["A;B", "A"], "A;B"),
        (["A;B", "A", "A"], "A"),
        (["A", "B", "C"], "A;B;C"),
        ([], None),
        ([" ; "], None),
    ],
)
def test_common_locations(labels, expected):
    assert common_locations(labels) == expected


def connected(points, neighbors, seed=0):
    units = anndata.AnnData(np.asarray(points, np.float32))
    connect_and_lay_out(units, use_rep="X", neighbors=neighbors, seed=seed)
    return units


def test_graph_is_symmetric_and_survives_duplicates_and_few_points():
    points = np.repeat(np.random.default_rng(0).normal(size=(6, 3)), 5, axis=0)
    for units in (connected(points, 10), connected(points[::5][:FEWEST], 10)):
        graph = units.obsp["connectivities"].toarray()
        np.testing.assert_allclose(graph, graph.T)
        assert ((graph >= 0) & (graph <= 1)).all()
        assert (np.diag(graph) == 0).all()
        assert np.isfinite(units.obsm["X_umap"]).all()


def levels_of(graph, points, resolutions, **options):
    steps = steps_of("resolutions", levels=resolutions, neighbors=15, paper_levels=[], ladder={})
    return find_levels(graph, points, None, steps, **options)


def make_map(cells, folder, **settings):
    """Build and write a map; its table of units, and the folder of its tables."""
    found = build_map(cells, Settings(**({"bootstraps": 2, "curve": 0} | settings)))
    folder.mkdir(exist_ok=True)
    write_map(found, folder / "map.h5ad", {name: folder / f"{name}.tsv" for name in TABLES})
    return anndata.read_h5ad(folder / "map.h5ad")


def test_planted_levels_come_back_and_are_stable():
    points, outer, inner = nested_blobs()
    graph = connected(points, 47).obsp["connectivities"]
    found = levels_of(graph, points, [0.3, 2.0], seeds=5, seed=0)
    coarse, fine = found.levels
    assert same_partition(coarse.labels, outer)
    assert same_partition(fine.labels, inner)
    np.testing.assert_allclose([*found.seeds[0].clusters, *found.seeds[1].clusters], 1)
    np.testing.assert_allclose(found.unit_stability, 1)
    np.testing.assert_array_equal(found.consensus, [coarse.labels, fine.labels])
    np.testing.assert_allclose(fine.containment, 1)
    assert (coarse.parents == -1).all()
    for cluster, parent in enumerate(fine.parents):
        assert set(coarse.labels[fine.labels == cluster]) == {parent}


def test_noise_is_less_stable_than_structure():
    noise = np.random.default_rng(0).normal(size=(150, 20))
    found = levels_of(connected(noise, 15).obsp["connectivities"], noise, [1.0], seeds=10, seed=0)
    assert found.levels[0].clusters > 1
    assert found.seeds[0].clusters.mean() < 0.9
    assert found.unit_stability.mean() < 0.95


def test_clusters_are_the_same_again_whatever_the_state_of_the_global_generator():
    import random

    points = np.random.default_rng(0).normal(size=(100, 10))
    graph = connected(points, 10).obsp["connectivities"]
    random.seed(1)
    once = levels_of(graph, points, [0.5, 1.5], seeds=3, seed=7)
    random.seed(2)
    again = levels_of(graph, points, [0.5, 1.5], seeds=3, seed=7)
    np.testing.assert_array_equal(once.labels, again.labels)
    np.testing.assert_array_equal(once.unit_stability, again.unit_stability)


def test_overlaps_and_parents_by_hand():
    labels, others = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 1])
    np.testing.assert_allclose(best_overlaps(labels, others), [2 / 3, 2 / 4, 1 / 4])
    np.testing.assert_array_equal(largest_parents(labels, others), [0, 1, 1])


def test_layout_keeps_groups_apart_and_repeats():
    points, outer, _ = nested_blobs(points=6)
    layout = connected(points, 15, seed=3).obsm["X_umap"]
    assert layout.shape == (len(points), 2)
    centres = np.array([layout[outer == group].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(layout[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, outer)
    np.testing.assert_array_equal(layout, connected(points, 15, seed=3).obsm["X_umap"])


def located(locations):
    obs = pd.DataFrame({"locations": locations}, index=[f"u{i}" for i in range(len(locations))])
    return of_columns(obs, "locations", independent=False)


def test_the_umap_may_have_neighbours_of_its_own():
    points, _, _ = nested_blobs(points=6)
    both = anndata.AnnData(np.asarray(points, np.float32))
    connect_and_lay_out(both, use_rep="X", neighbors=5, seed=3, umap_neighbors=40)
    np.testing.assert_array_equal(both.obsm["X_umap"], connected(points, 40, seed=3).obsm["X_umap"])
    few = connected(points, 5, seed=3)
    assert (both.obsp["connectivities"] != few.obsp["connectivities"]).nnz == 0
    assert (both.obsm["X_umap"] != few.obsm["X_umap"]).any()


def test_the_map_draws_with_the_neighbours_that_are_asked_for(planted, tmp_path):
    obs, vectors, _, _ = planted
    cells = write_cells(tmp_path / "cells.h5ad", obs, vectors, model="m", kind="subcell")
    settings = {"levels": [0.3], "seeds": 1, "bootstraps": 0, "curve": 0}
    asked = build_map(cells, Settings(neighbors=5, umap_neighbors=41, **settings)).units
    same = build_map(cells, Settings(neighbors=40, **settings)).units
    np.testing.assert_array_equal(asked.obsm["X_umap"], same.obsm["X_umap"])
    assert asked.uns["neighbors"]["params"]["n_neighbors"] == 6


def test_clusters_are_named_by_what_is_rare_elsewhere():
    # Cytosol is the most frequent location of cluster 0, but it is everywhere; Nucleoli is only there.
    locations = located(["Cytosol;Nucleoli"] * 4 + ["Cytosol"] + ["Cytosol"] * 9 + [None])
    table = top_locations(np.array([0] * 5 + [1] * 9 + [2]), locations)
    first, second = table.loc[0], table.loc[1]
    assert first["term"] == "Nucleoli"
    assert first["fraction"] == pytest.approx(0.8)
    assert first["background"] == pytest.approx(4 / 14)
    assert first["p_value"] == pytest.approx(hypergeom.sf(3, 14, 4, 5))
    assert first["q_value"] == pytest.approx(4 * first["p_value"]), "of two clusters and two locations, all are tests"
    assert second["term"] == "Cytosol"
    assert second["p_value"] == pytest.approx(1)
    assert table.index.tolist() == [0, 1]
    assert top_locations(np.array([0, 1]), None).empty


def test_a_name_needs_significance():
    table = top_locations(np.array([0] * 5 + [1] * 9), located(["Cytosol;Nucleoli"] * 4 + ["Cytosol"] * 10))
    options = {"everything": False, "alpha": 0.05}
    assert name_of(None, table.loc[0], **options) == "Nucleoli (80%)"
    assert name_of(None, table.loc[1], **options) == "no enriched term"
    assert name_of(None, None, **options | {"everything": True}) == "all"


def test_clusters_of_noise_have_no_names(tmp_path):
    rng = np.random.default_rng(0)
    places = rng.choice(["Cytosol", "Nucleoli", "Vesicles", "Mitochondria"], 120)
    obs = pd.DataFrame({"gene": [f"G{i:03d}" for i in range(120)], "field_id": "f", "locations": places})
    cells = write_cells(tmp_path / "cells.h5ad", obs, rng.normal(size=(120, 20)))
    clusters = build_map(cells, Settings(levels=[0.0, 2.0], seeds=1, bootstraps=0, curve=0)).tables["clusters"]
    assert clusters["name"].tolist() == ["all"] + ["no enriched term"] * (len(clusters) - 1)
    assert (clusters["top_location"] != "").all()


def test_top_units_are_the_nearest_to_the_centre():
    points = np.array([[0.0], [1.0], [2.1], [50.0], [51.0]])
    assert nearest_to_centre(points, np.array([0, 0, 0, 1, 1]), most=2) == [[1, 0], [3, 4]]


def test_map_of_planted_genes(planted, tmp_path):
    obs, vectors, outer, inner = planted
    cells = write_cells(tmp_path / "cells.h5ad", obs, vectors, model="m", kind="subcell")
    units = make_map(cells, tmp_path, levels=[2.0, 0.3], neighbors=47, seeds=3)
    assert same_partition(units.obs["level_1"], outer)
    assert same_partition(units.obs["level_2"], inner)
    assert units.obsm["X_umap"].shape == (len(outer), 2)
    assert (units.obs["n_cells"] == 3).all()
    clusters = pd.read_csv(tmp_path / "clusters.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert clusters.columns.tolist() == list(CLUSTER_COLUMNS)
    assert (clusters["level"] == "1").sum() == 3
    assert clusters.loc[clusters["level"] == "1", "top_location"].str.startswith("region").all()
    assert clusters.loc[clusters["level"] == "2", "top_location"].str.startswith("place").all()
    assert set(clusters.loc[clusters["level"] == "2", "parent"]) == {"1", "2", "3"}
    for level, part in clusters.groupby("level"):
        members = [unit for text in part["members"] for unit in text.split(";")]
        assert sorted(members) == units.obs_names.tolist(), level


def test_order_of_the_cells_does_not_matter(planted, tmp_path):
    obs, vectors, _, _ = planted
    obs = obs.set_axis([f"c{i:04d}" for i in range(len(obs))])
    shuffled = np.random.default_rng(5).permutation(len(obs))
    tables, maps = [], []
    for name, order in (("a", np.arange(len(obs))), ("b", shuffled)):
        cells = write_cells(tmp_path / f"{name}.h5ad", obs.iloc[order], vectors[order])
        maps.append(make_map(cells, tmp_path / name, seeds=3))
        tables.append({table: (tmp_path / name / f"{table}.tsv").read_text() for table in TABLES})
    for table in TABLES:
        assert tables[0][table] == tables[1][table], table
    np.testing.assert_allclose(maps[0].X, maps[1].X, rtol=1e-5, atol=1e-6)


def test_features_in_units_of_their_own_are_scaled(planted, tmp_path):
    obs, vectors, outer, _ = planted
    huge = 1e5 * np.random.default_rng(0).normal(size=(len(obs), 1))
    cells = write_cells(tmp_path / "cells.h5ad", obs, np.hstack([vectors, huge]), kind="handcrafted")
    units = make_map(cells, tmp_path, levels=[0.3], neighbors=47, seeds=1)
    assert same_partition(units.obs["level_1"], outer)


@pytest.mark.parametrize(
    ("unit", "min_cells", "reason"),
    [("compound", 1, "needs compound"), ("gene", 4, "needs 5 genes with at least 4 cells, 0 are there")],
)
def test_a_map_that_cannot_be_made_says_why(planted, tmp_path, unit, min_cells, reason):
    obs, vectors, _, _ = planted
    cells = write_cells(tmp_path / "cells.h5ad", obs, vectors)
    units = make_map(cells, tmp_path, unit=unit, min_cells=min_cells)
    assert units.n_obs == 0
    assert units.uns["not_run"] == reason
    assert (tmp_path / "clusters.tsv").read_text().splitlines() == ["\t".join(CLUSTER_COLUMNS)]


@pytest.mark.parametrize("genes", [1, 4, 5, 21])
def test_a_map_of_few_genes(tmp_path, genes):
    obs = pd.DataFrame({"gene": [f"G{i:02d}" for i in range(genes)], "field_id": "f"})
    cells = write_cells(tmp_path / "cells.h5ad", obs, np.random.default_rng(0).normal(size=(genes, 4)))
    units = make_map(cells, tmp_path, levels=[0.5, 1.0], seeds=2)
    if genes < FEWEST:
        assert units.n_obs == 0
        assert "needs 5 genes" in units.uns["not_run"]
    else:
        assert units.n_obs == genes
        assert units.obs["level_2"].notna().all()


def test_a_damaged_file_of_cells_is_named(tmp_path):
    (tmp_path / "cells.h5ad").write_bytes(b"nothing")
    with pytest.raises(SubcellError, match=r"cells\.h5ad"):
        build_map(tmp_path / "cells.h5ad")
