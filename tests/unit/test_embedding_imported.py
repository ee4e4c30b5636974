"""Vectors from elsewhere: released tables, sparse ones, and files that are not quite AnnData."""

import sys
from types import SimpleNamespace

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from subcell.atlas.map.neighbors import find_neighbors, nearest_rows
from subcell.atlas.units.units import aggregate
from subcell.config.check import resolve
from subcell.embedding import imported
from subcell.embedding.imported import import_cells
from subcell.errors import ConfigError, SubcellError

CELLS = 60
SPLIT = {"by": "gene", "train": 0.6, "valid": 0.15, "seed": 0, "lists": None}


def released_table():
    """A table with the columns of SubCell's released embeddings: two wells a gene, cell numbers kept as fractions."""
    random = np.random.default_rng(0)
    gene = np.arange(CELLS) // 5
    return pd.DataFrame(
        {
            "cell_id": [f"{i % 5 + 1}.0" for i in range(CELLS)],
            "if_plate_id": 100 + gene // 6,
            "position": [f"A{g}" for g in gene],
            "sample": 1,
            "atlas_name": "U2OS",
            "antibody": [f"HPA{g:06d}" for g in gene],
            "gene_names": ["G0,G1" if g == 0 else f"G{g + 1}" for g in gene],
            "locations": ["Cytosol,Nucleoli" if g % 2 else None for g in gene],
            "gene_reliability": random.choice(["Enhanced", "Supported"], CELLS),
        },
        index=[str(i) for i in range(CELLS)],
    )


@pytest.fixture
def vectors():
    random = np.random.default_rng(1)
    return (np.repeat(random.normal(size=(12, 16)), 5, axis=0) + random.normal(size=(CELLS, 16)) * 0.1).astype(float)


def run(path, out, **more):
    import_cells(path, out, model="subcell", split=SPLIT, log=lambda line: None, **more)
    return anndata.read_h5ad(out)


def test_a_released_table_enters(tmp_path, vectors, monkeypatch):
    monkeypatch.setattr(imported, "BLOCK_BYTES", 1000)
    table = anndata.AnnData(vectors, obs=released_table())
    table.obsm["probabilities"] = np.full((CELLS, 31), 0.25)
    table.write_h5ad(tmp_path / "released.h5ad")
    data = run(tmp_path / "released.h5ad", tmp_path / "cells.h5ad")
    assert data.X.dtype == np.float32
    np.testing.assert_allclose(data.X, vectors, rtol=1e-6)
    assert data.obs_names[:2].tolist() == ["100_A0_1:1", "100_A0_1:2"]
    assert data.obs["field_id"].iloc[7] == "100_A1_1"
    assert data.obs["gene"].iloc[0] == "G0;G1"
    assert data.obs["locations"].iloc[5] == "Cytosol;Nucleoli"
    assert data.obs["cell_line"].iloc[0] == "U2OS"
    assert set(data.obs["split"]) <= {"train", "valid", "test"}
    assert (data.obs.groupby("gene", observed=True)["split"].nunique() == 1).all()
    assert data.obsm["probabilities"].shape == (CELLS, 31)
    assert (data.uns["kind"], data.uns["model"]) == ("imported", "subcell")
    assert aggregate(anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r"), "gene").n_obs == 12


def test_columns_layers_and_sparse_arrays(tmp_path, vectors):
    obs = pd.DataFrame(
        {"name": [f"c{i}" for i in range(CELLS)], "target": "ACTB"}, index=[f"x{i}" for i in range(CELLS)]
    )
    data = anndata.AnnData(scipy.sparse.csr_matrix((CELLS, 3)), obs=obs)
    data.obsm["X_vit"] = vectors
    data.layers["dense"] = scipy.sparse.csc_matrix(np.arange(CELLS * 3, dtype=float).reshape(CELLS, 3))
    data.write_h5ad(tmp_path / "a.h5ad")
    columns = {"gene": "target", "cell_id": "name"}
    found = run(
        tmp_path / "a.h5ad", tmp_path / "b.h5ad", columns=columns, layer="obsm/X_vit", defaults={"cell_line": "HeLa"}
    )
    assert found.obs_names[3] == "c3"
    assert found.obs["gene"].iloc[0] == "ACTB"
    assert found.obs["cell_line"].iloc[-1] == "HeLa"
    assert found.obs["field_id"].iloc[0] == "all"
    np.testing.assert_allclose(found.X, vectors, rtol=1e-6)
    layer = run(tmp_path / "a.h5ad", tmp_path / "c.h5ad", layer="dense")
    np.testing.assert_array_equal(layer.X, np.arange(CELLS * 3).reshape(CELLS, 3))
    with pytest.raises(SubcellError, match=r"no layers/nothing; it has X, layers/dense, obsm/X_vit"):
        run(tmp_path / "a.h5ad", tmp_path / "d.h5ad", layer="nothing")
    with pytest.raises(SubcellError, match=r"no column gene: target2; it has name, target"):
        run(tmp_path / "a.h5ad", tmp_path / "d.h5ad", columns={"gene": "target2"})


def test_columns_are_read_as_those_of_a_sheet(tmp_path, vectors):
    split = ["Train", "VAL", "test", "validation", "", "NA"]
    obs = pd.DataFrame(
        {
            "Gene": ["A,B", "A", "C", "C", "D", "D"],
            "Gene_Name": "other",
            "SPLIT": split,
            "Control": ["Negative", None, "positive", None, None, None],
            "Locations": ["golgi apparatus,Cytosol", "nan", "cytosol", "Cytosol", "Mine", "cytosol;Cytosol"],
            "IF_plate_ID": 7,
        },
        index=[f"c{i}" for i in range(6)],
    )
    anndata.AnnData(vectors[:6], obs=obs).write_h5ad(tmp_path / "a.h5ad")
    lines = []
    import_cells(tmp_path / "a.h5ad", tmp_path / "b.h5ad", model="m", split={"by": "none"}, log=lines.append)
    found = anndata.read_h5ad(tmp_path / "b.h5ad").obs.astype(object)
    found = found.where(found.notna(), None)
    assert found["gene"].tolist() == ["A;B", "A", "C", "C", "D", "D"]
    assert found["split"].tolist() == ["train", "valid", "test", "valid", None, None]
    assert found["control"].tolist() == ["negative", None, "positive", None, None, None]
    assert found["locations"].tolist() == [
        *("Golgi apparatus;Cytosol", None, "Cytosol", "Cytosol", "Mine", "Cytosol"),
    ]
    assert lines[0] == (
        f"{tmp_path / 'a.h5ad'}: columns taken: plate from 'IF_plate_ID', gene from 'Gene', locations from 'Locations', "
        "control from 'Control', split from 'SPLIT'"
    )
    # A column that is asked for goes before one that has our name, wherever they stand.
    renamed = obs.rename(columns={"Gene": "gene"})
    anndata.AnnData(vectors[:6], obs=renamed).write_h5ad(tmp_path / "c.h5ad")
    assert set(run(tmp_path / "c.h5ad", tmp_path / "d.h5ad", columns={"gene": "Gene_Name"}).obs["gene"]) == {"other"}


@pytest.mark.parametrize(("column", "value"), [("control", "DMSO"), ("split", "holdout")])
def test_words_that_a_column_does_not_know_are_named(tmp_path, vectors, column, value):
    obs = released_table().assign(**{column: [None] * 7 + [value] * (CELLS - 7)}, cell_id=range(CELLS))
    anndata.AnnData(vectors, obs=obs).write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(SubcellError, match=rf"a\.h5ad: {column} is '{value}'; expected .* \(first in cell '7'\)"):
        run(tmp_path / "a.h5ad", tmp_path / "b.h5ad")


def test_files_written_by_bare_h5py_are_read(tmp_path, vectors):
    with h5py.File(tmp_path / "portable.h5ad", "w") as file:
        file["X"] = vectors.astype(np.float32)
        file["obs/index"] = np.array([f"dir/cell {i}" for i in range(CELLS)], h5py.string_dtype())
        file["obsm/probabilities"] = np.full((CELLS, 19), 0.5, np.float32)
    found = run(tmp_path / "portable.h5ad", tmp_path / "out.h5ad")
    assert found.obs_names[1] == "dir/cell 1"
    assert list(found.uns["location_classes"])[:2] == ["class 0", "class 1"]


def test_vectors_of_several_files_stand_side_by_side(tmp_path, vectors, monkeypatch):
    monkeypatch.setattr(imported, "BLOCK_BYTES", 2000)
    table = released_table()
    table.index = [f"c{i}" for i in range(CELLS)]
    table = table.drop(columns="cell_id")
    order = np.random.default_rng(0).permutation(CELLS)[:50]
    anndata.AnnData(vectors, obs=table).write_h5ad(tmp_path / "mito.h5ad")
    anndata.AnnData(-vectors[order], obs=table.iloc[order]).write_h5ad(tmp_path / "rna.h5ad")
    found = run([tmp_path / "mito.h5ad", tmp_path / "rna.h5ad"], tmp_path / "both.h5ad")
    assert found.shape == (50, 32)
    assert found.obs_names.tolist() == [f"c{i}" for i in sorted(order)]
    np.testing.assert_allclose(found.X[:, :16], vectors[sorted(order)], rtol=1e-6)
    np.testing.assert_array_equal(found.X[:, 16:], -found.X[:, :16])
    assert found.uns["file"] == "mito.h5ad, rna.h5ad, X"
    anndata.AnnData(vectors[:2], obs=pd.DataFrame(index=["x", "y"])).write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(SubcellError, match="no cell is in all of"):
        run([tmp_path / "mito.h5ad", tmp_path / "other.h5ad"], tmp_path / "none.h5ad")


def test_what_cannot_be_used_is_named(tmp_path, vectors):
    broken = vectors.copy()
    broken[7, 3] = np.nan
    anndata.AnnData(broken, obs=released_table()).write_h5ad(tmp_path / "nan.h5ad")
    with pytest.raises(SubcellError, match=r"X of cell '100_A1_1:3' is not finite"):
        run(tmp_path / "nan.h5ad", tmp_path / "out.h5ad")
    twice = released_table().assign(cell_id="1.0")
    anndata.AnnData(vectors, obs=twice).write_h5ad(tmp_path / "twice.h5ad")
    with pytest.raises(SubcellError, match=r"cell '100_A0_1:1' occurs twice"):
        run(tmp_path / "twice.h5ad", tmp_path / "out.h5ad")
    (tmp_path / "text.h5ad").write_text("no")
    with pytest.raises(SubcellError, match=r"text\.h5ad: cannot be read as h5ad"):
        run(tmp_path / "text.h5ad", tmp_path / "out.h5ad")
    assert not (tmp_path / "out.h5ad").exists()


def test_a_dataset_of_vectors_brings_its_model():
    datasets = {
        "paper": {"source": "embeddings", "file": "x.h5ad", "model": "released"},
        "demo": {"source": "simulate"},
    }
    config = resolve({"datasets": datasets, "models": {"hand": {"kind": "handcrafted"}}})
    assert config["models"]["released"] == {"kind": "imported", "evaluate_on": ["paper"]}
    assert resolve(config) == config
    with pytest.raises(ConfigError, match=r"models\.hand\.evaluate_on: `paper` has vectors, not images"):
        resolve({"datasets": datasets, "models": {"hand": {"kind": "handcrafted", "evaluate_on": ["paper"]}}})


# Neighbours


def test_nearest_rows_are_those_of_a_full_table(monkeypatch):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 8)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    expected = np.argsort(-cosine, axis=1, kind="stable")[:, :5]
    monkeypatch.setattr("subcell.atlas.map.neighbors.BLOCK_ROWS", 64)
    nearest, similarity = nearest_rows(vectors, 5)
    np.testing.assert_array_equal(nearest, expected)
    np.testing.assert_allclose(similarity, np.take_along_axis(cosine, expected, 1), atol=1e-6)
    assert nearest_rows(vectors[:1], 5)[0].shape == (1, 0)


def test_an_index_gives_as_many_and_never_the_row_itself(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)

    class Index:
        """As pynndescent answers: usually the row itself first, of equal rows another one, and sometimes not at all."""

        def __init__(self, unit, metric, n_neighbors, **more):
            assert metric == "cosine"
            cosine = unit @ unit.T
            cosine[np.arange(0, 40, 3), np.arange(0, 40, 3)] = -2
            found = np.argsort(-cosine, axis=1)[:, :n_neighbors]
            self.neighbor_graph = found, 1 - np.take_along_axis(cosine, found, 1)

    exact = nearest_rows(vectors, 5)
    monkeypatch.setattr("subcell.atlas.map.neighbors.EXACT_ROWS", 10)
    monkeypatch.setitem(sys.modules, "pynndescent", SimpleNamespace(NNDescent=Index))
    for found, expected in zip(nearest_rows(vectors, 5), exact, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_proteins_and_cells_find_their_like(tmp_path, vectors):
    anndata.AnnData(vectors, obs=released_table()).write_h5ad(tmp_path / "a.h5ad")
    run(tmp_path / "a.h5ad", tmp_path / "cells.h5ad")
    find_neighbors(tmp_path / "cells.h5ad", tmp_path / "n.tsv", unit="cell", most=4)
    table = pd.read_csv(tmp_path / "n.tsv", sep="\t")
    assert list(table) == ["unit", "rank", "neighbor", "similarity"]
    assert len(table) == 4 * CELLS
    # Five cells of a gene are each other's nearest.
    assert (table["unit"].str.split(":").str[0] == table["neighbor"].str.split(":").str[0]).all()
    find_neighbors(tmp_path / "cells.h5ad", tmp_path / "genes.tsv", most=100)
    genes = pd.read_csv(tmp_path / "genes.tsv", sep="\t")
    assert (genes.groupby("unit").size() == 11).all()
    assert (genes["unit"] != genes["neighbor"]).all()
    assert genes.groupby("unit")["similarity"].apply(lambda s: s.is_monotonic_decreasing).all()


def test_a_table_that_torch_saved_is_imported(tmp_path):
    """The form of CHAMMI-75's HPAv23 benchmark and of SubCell's own: a table and a tensor."""
    table = {
        "antibody": ["HPA000001", "HPA000002", "HPA000002"],
        "locations": ["Cytosol,Nucleoplasm", "nan", "Vesicles"],
        "atlas_name": ["U2OS", "U2OS", "HeLa"],
        "if_plate_id": ["1", "1", "2"],
        "cell_id": ["1.0", "1.0", "2.0"],
    }
    vectors = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    torch.save((table, vectors), tmp_path / "all_features.pth")
    import_cells(
        tmp_path / "all_features.pth", tmp_path / "cells.h5ad", model="m", defaults={"locations": "Negative"}, log=print
    )
    found = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert found.X.tolist() == vectors.tolist()
    assert found.obs["locations"].tolist() == ["Cytosol;Nucleoplasm", "Negative", "Vesicles"]
    assert found.obs["cell_line"].tolist() == ["U2OS", "U2OS", "HeLa"]
    torch.save((table, vectors[:2]), tmp_path / "short.pth")
    with pytest.raises(SubcellError, match="3 rows in the table, 2 vectors"):
        import_cells(tmp_path / "short.pth", tmp_path / "out.h5ad", model="m", log=print)


def test_vectors_that_one_number_stands_for_are_refused(tmp_path):
    torch.save(({"a": ["x"] * 1000}, torch.zeros(1, 1).expand(1000, 50_000)), tmp_path / "small.pth")
    with pytest.raises(SubcellError, match=r"small\.pth: .*its tensors claim 200,000,000 bytes and have 4"):
        import_cells(tmp_path / "small.pth", tmp_path / "out.h5ad", model="m", log=print)


def test_a_pickled_table_is_not_opened(tmp_path):
    torch.save((pd.DataFrame({"antibody": ["a"]}), torch.zeros(1, 2)), tmp_path / "all_features.pth")
    with pytest.raises(SubcellError, match="more than plain values"):
        import_cells(tmp_path / "all_features.pth", tmp_path / "out.h5ad", model="m", log=print)
    assert not (tmp_path / "out.h5ad").exists()
