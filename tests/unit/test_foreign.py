"""h5ad from elsewhere: nothing of another file gets in, and what cannot be used is said in one line."""

import gzip
import os
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from subcell.crops.released import fetch_released_crops
from subcell.embedding.imported import import_cells
from subcell.errors import SubcellError

SHARED = Path(os.environ.get("SUBCELL_SHARED") or Path(__file__).parents[3] / "shared")
CELLS = 20


def written(path, x=None, **more):
    obs = pd.DataFrame({"gene": [f"G{i // 4}" for i in range(CELLS)]}, index=[f"c{i}" for i in range(CELLS)])
    x = np.random.default_rng(0).normal(size=(CELLS, 5)).astype(np.float32) if x is None else x
    anndata.AnnData(x, obs=obs, **more).write_h5ad(path)
    return path


def refused(path, tmp_path, **more):
    """What importing says, in one line; nothing is left."""
    with pytest.raises(SubcellError) as found:
        import_cells(path, tmp_path / "out.h5ad", model="m", log=lambda line: None, **more)
    assert not list(tmp_path.glob("*out.h5ad*"))
    assert "\n" not in str(found.value)
    assert str(path) in str(found.value)
    return str(found.value)


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "secret").write_bytes(b"not for you " * 100)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["X"] = np.full((CELLS, 5), 7.0)
    return tmp_path


def external_storage(file, folder):
    del file["X"]
    file.create_dataset("X", (CELLS, 5), "f4", external=[(str(folder / "secret"), 0, CELLS * 20)])


def virtual(file, folder):
    del file["X"]
    layout = h5py.VirtualLayout((CELLS, 5), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "X", shape=(CELLS, 5))
    file.create_virtual_dataset("X", layout)


def external_link(file, folder):
    del file["X"]
    file["X"] = h5py.ExternalLink(str(folder / "other.h5"), "X")


def external_column(file, folder):
    """Beside the vectors, where nobody would look."""
    file["obs"].create_dataset("note", (CELLS,), "S12", external=[(str(folder / "secret"), 0, CELLS * 12)])


def external_link_in_uns(file, folder):
    file["uns/deep/deeper"] = h5py.ExternalLink(str(folder / "other.h5"), "/")


def soft_link_through_an_external_one(file, folder):
    del file["X"]
    file["uns/z"] = h5py.ExternalLink(str(folder / "other.h5"), "/")
    file["X"] = h5py.SoftLink("/uns/z/X")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_storage, "the values of /X lie in another file"),
        (virtual, "/X is put together from other files"),
        (external_link, "/X is a link to another file"),
        (external_column, "the values of /obs/note lie in another file"),
        (external_link_in_uns, "/uns/deep/deeper is a link to another file"),
        (soft_link_through_an_external_one, "/uns/z is a link to another file"),
    ],
)
def test_nothing_of_other_files_gets_in(secret, tmp_path, change, message):
    path = written(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        change(file, secret)
    assert message in refused(path, tmp_path)
    with pytest.raises(SubcellError, match=message):
        fetch_released_crops(path, tmp_path / "published", crops="", cells=3, downloader=None)


def test_links_inside_a_file_are_followed_unless_they_lead_nowhere(tmp_path):
    path = written(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        file["obsm/again"] = h5py.SoftLink("/X")
        file["uns/itself"] = file["/"]
    import_cells(path, tmp_path / "fine.h5ad", model="m", layer="obsm/again", log=print)
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "fine.h5ad").X, anndata.read_h5ad(written(path)).X)
    with h5py.File(path, "r+") as file:
        file["obsm/one"] = h5py.SoftLink("/obsm/two")
        file["obsm/two"] = h5py.SoftLink("/obsm/one")
    assert "is a link that leads nowhere" in refused(path, tmp_path)


def text(file):
    del file["X"]
    file["X"] = np.full((CELLS, 5), b"a text")


def other_text(file):
    del file["X"]
    file.create_dataset("X", (CELLS, 5), h5py.string_dtype())


def complex_numbers(file):
    del file["X"]
    file["X"] = np.zeros((CELLS, 5), complex)


def claims(file):
    del file["X"]
    file.create_dataset("X", (CELLS, 2_000_000), "f4", chunks=(1, 1000))


def too_wide(file):
    del file["X"]
    file.create_dataset("X", (CELLS, 2_000_000), "i1", chunks=(1, 1000), compression="gzip")[:] = 1


def group(file):
    del file["X"]
    file["X/what"] = 1


def fewer_rows(file):
    del file["X"]
    file["X"] = np.zeros((CELLS - 1, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (text, "X holds text; expected numbers"),
        (other_text, "X holds text; expected numbers"),
        (complex_numbers, "X holds values of type complex128; expected numbers"),
        (claims, "/X claims (20, 2000000) values, of which the file has 0 bytes"),
        (too_wide, "X has 2,000,000 columns; expected at most 1,048,576"),
        (group, "X is a group of kind 'unknown'"),
        (fewer_rows, "X has 19 rows and obs 20"),
        (lambda file: file.__delitem__("obs"), "cannot be read as h5ad"),
        (lambda file: file["obs"].attrs.__delitem__("_index"), "cannot be read as h5ad"),
        (lambda file: file.create_dataset("obsm/probabilities", (3, 31), "f4"), "probabilities has 3 rows and obs 20"),
    ],
)
def test_arrays_that_hold_no_vectors_are_named(tmp_path, change, message):
    path = written(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        change(file)
    assert message in refused(path, tmp_path)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_matrix])
@pytest.mark.parametrize(
    ("part", "place", "value", "message"),
    [
        ("indptr", 1, 10**6, "pointers do not rise"),
        ("indptr", 2, -5, "pointers do not rise"),
        ("indptr", -1, 10**9, "pointers do not rise"),
        ("indices", 0, 10**6, "an index lies outside of its"),
        ("indices", -1, -3, "an index lies outside of its"),
    ],
)
def test_a_damaged_sparse_array_is_named(tmp_path, kind, part, place, value, message):
    path = written(tmp_path / "a.h5ad", kind(np.eye(CELLS, dtype=np.float32)))
    import_cells(path, tmp_path / "fine.h5ad", model="m", log=print)
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "fine.h5ad").X, np.eye(CELLS))
    with h5py.File(path, "r+") as file:
        values = file[f"X/{part}"][:]
        values[place] = value
        file[f"X/{part}"][:] = values
    assert f"the sparse array X is damaged: {message}" in refused(path, tmp_path).replace("its pointers", "pointers")


def test_a_sparse_array_of_another_shape_is_named(tmp_path):
    path = written(tmp_path / "a.h5ad", scipy.sparse.csr_matrix(np.eye(CELLS, dtype=np.float32)))
    for shape in ((CELLS + 1, CELLS), (-1, 4), (CELLS,)):
        with h5py.File(path, "r+") as file:
            file["X"].attrs["shape"] = shape
        assert "the sparse array X is damaged" in refused(path, tmp_path)


def test_vectors_in_obsm_are_pointed_at(tmp_path):
    path = written(tmp_path / "a.h5ad", np.zeros((CELLS, 0)), obsm={"X_emb": np.ones((CELLS, 3))})
    assert "X has no columns; set layer: obsm/X_emb" in refused(path, tmp_path)
    path = written(tmp_path / "a.h5ad", np.zeros((CELLS, 0)), layers={"raw": np.zeros((CELLS, 0))})
    assert "layers/raw has no columns" in refused(path, tmp_path, layer="raw")


def test_a_table_in_obsm_is_read(tmp_path):
    names = [f"c{i}" for i in range(CELLS)]
    table = pd.DataFrame({"a": np.arange(CELLS), "b": 0.5}, index=names)
    path = written(tmp_path / "a.h5ad", obsm={"df": table, "text": table.assign(word="x")})
    import_cells(path, tmp_path / "fine.h5ad", model="m", layer="obsm/df", log=print)
    found = anndata.read_h5ad(tmp_path / "fine.h5ad")
    np.testing.assert_array_equal(found.X, table.to_numpy())
    assert found.var_names.tolist() == ["a", "b"]
    assert "obsm/text is a table with text in word" in refused(path, tmp_path, layer="obsm/text")


def test_other_formats_are_refused_by_name(tmp_path):
    path = written(tmp_path / "a.h5ad")
    (tmp_path / "b.h5ad").write_bytes(gzip.compress(path.read_bytes()))
    assert "is compressed with gzip; unpack it first: gzip -d b.h5ad" in refused(tmp_path / "b.h5ad", tmp_path)
    pd.DataFrame({"Metadata_Well": ["A1"], "f": [1.0]}).to_parquet(tmp_path / "c.parquet")
    assert "is a parquet table" in refused(tmp_path / "c.parquet", tmp_path)
    (tmp_path / "d.csv").write_text("Metadata_Well,f\nA1,1\n")
    assert "is a table of text; make it an h5ad first" in refused(tmp_path / "d.csv", tmp_path)
    (tmp_path / "e.zarr").mkdir()
    (tmp_path / "e.zarr" / "zarr.json").write_text("{}")
    assert "is a zarr store; make it an h5ad first: python -c" in refused(tmp_path / "e.zarr", tmp_path)
    (tmp_path / "f").mkdir()
    assert "is a folder; name an h5ad" in refused(tmp_path / "f", tmp_path)
    assert "cannot be opened (No such file or directory)" in refused(tmp_path / "none.h5ad", tmp_path)


def test_odd_files(tmp_path):
    folder = SHARED / "data" / "odd_files" / "h5ad_in_obsm"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: name the folder of shared inputs in SUBCELL_SHARED")
    assert "X has no columns; set layer: obsm/X_emb" in refused(folder / "vectors_obsm.h5ad", tmp_path)
    import_cells(folder / "frame_obsm.h5ad", tmp_path / "fine.h5ad", model="m", layer="obsm/X_df", log=print)
    assert anndata.read_h5ad(tmp_path / "fine.h5ad").n_obs == anndata.read_h5ad(folder / "frame_obsm.h5ad").n_obs
