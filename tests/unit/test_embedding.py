"""Vectors of cells: classical features with known answers, files that AnnData reads, shards that join."""

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subcell.channels import CHANNELS
from subcell.crops.store import PLANES, write_h5sc
from subcell.embedding import run as run_module
from subcell.embedding.handcrafted import GRAIN_RADII_PX, Handcrafted, granularity, ring_means
from subcell.embedding.kinds import build_embedder
from subcell.embedding.mask_shape import MASK_SHAPES, mask_shape
from subcell.embedding.models import Embedded
from subcell.embedding.run import embed_shard, merge_shards
from subcell.embedding.shortcuts import Shortcuts, depth_of
from subcell.errors import CheckpointError, ConfigError, NothingLeftError, SubcellError

SIDE = 32


def disc(radius, side=SIDE, at=None):
    y, x = at or (side / 2 - 0.5, side / 2 - 0.5)
    yy, xx = np.mgrid[:side, :side]
    return (yy - y) ** 2 + (xx - x) ** 2 <= radius**2


def crop(protein, *, seed=0, cell=None, nucleus=None):
    """A crop with noise as landmarks and the given protein channel."""
    cell = disc(13) if cell is None else cell
    nucleus = disc(5) if nucleus is None else nucleus
    landmarks = np.random.default_rng(seed).integers(1, 256, (3, *cell.shape))
    return np.concatenate([nucleus[None], cell[None], landmarks, protein[None]]).astype(np.uint8)


ALL_CHANNELS = ";".join(CHANNELS)


def table(ids, channels=ALL_CHANNELS):
    return pd.DataFrame(
        {
            "field_id": [i.split(":")[0] for i in ids],
            "gene": [f"gene {i.split(':')[0]}" for i in ids],
            "compound": [None] * len(ids),
            "cells_in_field": [len(ids)] * len(ids),
            "nucleus_area_um2": [100.0] * len(ids),
            "cell_area_um2": [900.0] * len(ids),
            "clipped_fraction": np.zeros(len(ids), np.float32),
            "channels": [channels] * len(ids),
        },
        index=pd.Index(ids, name="cell_id", dtype=object),
    )


class MeanOfChannels:
    """An embedder whose answer anyone can compute."""

    requires = ("protein",)
    features = tuple(f"mean {plane}" for plane in PLANES)
    description = {"kind": "test", "checkpoint_sha256": "abc", "normalisation": "none"}  # noqa: RUF012

    def __init__(self, name="means", attention=False):
        self.name = name
        self.attention = attention

    def embed(self, images, obs):
        assert len(images) == len(obs)
        vectors = images.mean(axis=(2, 3)).astype(np.float32)
        maps = np.repeat(vectors[:, :2, None, None], 4, axis=3).astype(np.float16)
        return Embedded(vectors, {"attention": maps} if self.attention else {})


def features_of(image, embedder=None):
    embedder = embedder or Handcrafted("handcrafted")
    found = embedder.embed(image[None], table(["f:1"]))
    assert not found.more
    vectors = found.vectors
    assert vectors.dtype == np.float32
    return dict(zip(embedder.features, vectors[0].tolist(), strict=True))


# Classical features


def test_protein_like_a_landmark_correlates_with_it():
    image = crop(np.zeros((SIDE, SIDE)))
    image[5] = image[3]
    features = features_of(image)
    assert features["er_protein_pearson"] == pytest.approx(1, abs=1e-5)
    assert abs(features["microtubules_protein_pearson"]) < 0.2
    image[5] = 255 - image[3]
    assert features_of(image)["er_protein_pearson"] == pytest.approx(-1, abs=1e-2)


def test_nuclear_protein_is_nuclear():
    features = features_of(crop(np.where(disc(5), 200, 0)))
    expected = disc(13).sum() / disc(5).sum()
    assert features["protein_mean_in_nucleus"] == pytest.approx(expected, rel=1e-4)
    assert features["protein_mean_in_cytoplasm"] == 0
    assert features["protein_nucleus_ring_0"] > 1
    assert features["protein_nucleus_ring_4"] == 0


def test_brightness_and_surroundings_change_nothing():
    protein = np.random.default_rng(1).integers(0, 120, (SIDE, SIDE))
    plain = features_of(crop(protein))
    neighbour = crop(protein)
    neighbour[2:, ~disc(13)] = 255
    same = {name: pytest.approx(value, abs=1e-5) for name, value in plain.items()}
    assert features_of(crop(2 * protein)) == same
    assert features_of(neighbour) == same


def test_depth_of_bits_changes_nothing():
    image = crop(np.random.default_rng(1).integers(0, 256, (SIDE, SIDE)))
    deep = image.astype(np.uint16)
    deep[2:] *= 257
    eight = features_of(image)
    assert features_of(deep) == {name: pytest.approx(value, abs=1e-4) for name, value in eight.items()}


@pytest.mark.parametrize("radius", [1, 2, 3, 4])
def test_grains_show_at_their_size(radius):
    grain = disc(radius + 0.3, at=(16, 16)).astype(float)
    spectrum = granularity(grain, disc(13))
    # Openings with discs up to the grain's own size leave it, the next larger one takes it away.
    lost = next(i for i, size in enumerate(GRAIN_RADII_PX) if size > radius)
    assert int(np.argmax(spectrum)) == lost
    assert sum(spectrum) == pytest.approx(1)


def test_rings_of_a_uniform_channel_are_one():
    cell = disc(13)
    rings = ring_means(np.full(cell.shape, 0.3), depth_of(cell), cell)
    np.testing.assert_allclose(rings, 1)


def test_texture_tells_stripes_from_their_shuffle():
    stripes = np.tile([10, 10, 240, 240], (SIDE, SIDE // 4))
    shuffled = np.random.default_rng(0).permuted(stripes.ravel()).reshape(SIDE, SIDE)
    ordered, random = features_of(crop(stripes)), features_of(crop(shuffled))
    assert ordered["protein_1px_Correlation"] > random["protein_1px_Correlation"] + 0.2
    assert ordered["protein_MeanIntensity"] == pytest.approx(random["protein_MeanIntensity"], rel=0.15)


def test_shape_of_a_disc():
    mask = disc(12)
    shape = dict(zip(MASK_SHAPES, mask_shape(mask, depth=depth_of(mask)), strict=True))
    assert shape["area"] == mask.sum()
    assert shape["eccentricity"] == pytest.approx(0, abs=0.05)
    assert shape["form_factor"] == pytest.approx(1, abs=0.1)
    assert shape["radius_max"] == pytest.approx(12, abs=1)
    assert (mask_shape(np.zeros((4, 4)), depth=np.zeros((4, 4), np.float32)) == 0).all()


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["zero", "constant", "saturated", "noise"]),
    cell=st.sampled_from(["empty", "pixel", "line", "disc", "all"]),
    nucleus=st.sampled_from(["empty", "disc", "all"]),
    depth=st.sampled_from([np.uint8, np.uint16]),
    seed=st.integers(0, 99),
)
def test_features_are_always_numbers(kind, cell, nucleus, depth, seed):
    top = np.iinfo(depth).max
    image = np.zeros((6, SIDE, SIDE), depth)
    noise = np.random.default_rng(seed).integers(0, top, (4, SIDE, SIDE))
    image[2:] = {"zero": 0, "constant": 7, "saturated": top, "noise": noise}[kind]
    masks = {"empty": disc(-1), "disc": disc(10), "all": disc(99), "pixel": disc(0.6, at=(0, 31))}
    masks["line"] = np.eye(1, SIDE * SIDE, dtype=bool).reshape(SIDE, SIDE) | (np.mgrid[:SIDE, :SIDE][0] == 9)
    image[1] = masks[cell]
    image[0] = masks[nucleus] & masks[cell]
    for embedder in (Handcrafted("h"), Shortcuts("s")):
        vectors = embedder.embed(image[None], table(["f:1"])).vectors
        assert vectors.shape == (1, len(embedder.features))
        assert np.isfinite(vectors).all()


def test_feature_names_are_unique_and_cover_what_was_promised():
    names = Handcrafted("h").features
    assert len(set(names)) == len(names) > 200
    for part in (
        "protein_grain_1",
        "protein_depth_ring_0",
        "er_protein_pearson",
        "protein_3px_Contrast",
        "cell_mask_area",
    ):
        assert part in names


def test_shortcuts_see_brightness_and_outline_only():
    protein = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE))
    shuffled = protein.copy()
    inside = disc(13)
    shuffled[inside] = np.random.default_rng(2).permutation(protein[inside])
    here, there = (features_of(crop(p), Shortcuts("s")) for p in (protein, shuffled))
    assert here == there
    assert here["mean_protein"] == pytest.approx(protein[inside].mean(), rel=1e-5)
    assert here["cells_in_field"] == 1
    assert here["cell_mask_area"] == inside.sum()


# Files


@pytest.fixture
def crops(tmp_path):
    """Write cells of the given ids to a crop file; each crop is noise seeded by its id."""

    def write(name, ids, **options):
        images = np.stack([crop(np.full((SIDE, SIDE), hash_of(i)), seed=hash_of(i)) for i in ids]) if ids else None
        images = np.zeros((0, 6, SIDE, SIDE), np.uint8) if images is None else images
        write_h5sc(tmp_path / name, table(ids, **options), images, field_um=16.0)
        return tmp_path / name

    return write


def hash_of(cell_id):
    return sum(map(ord, cell_id)) % 251


def test_embedded_shard_is_an_anndata_file_in_order(crops, tmp_path):
    embed_shard(crops("a.h5sc", ["f:2", "f:10", "f:1"]), MeanOfChannels(), tmp_path / "a.h5ad", batch_size=2)
    data = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert data.obs_names.tolist() == ["f:1", "f:10", "f:2"]
    assert data.var_names.tolist() == list(MeanOfChannels.features)
    assert data.X.dtype == np.float32
    np.testing.assert_allclose(data.X[:, 5], [hash_of(i) for i in data.obs_names])
    assert data.obs["gene"].tolist() == ["gene f"] * 3
    expected = {"model": "means", "kind": "test", "checkpoint_sha256": "abc", "pixels": SIDE, "um_per_px": 0.5}
    assert expected.items() <= dict(data.uns).items()


def test_shard_without_cells_gives_a_file_without_rows(crops, tmp_path):
    embed_shard(crops("a.h5sc", []), MeanOfChannels(attention=True), tmp_path / "a.h5ad", keep_attention=True)
    assert anndata.read_h5ad(tmp_path / "a.h5ad").shape == (0, 6)


def test_progress_sees_every_batch(crops, tmp_path):
    seen = []

    def watch(items):
        for item in items:
            seen.append(item)
            yield item

    path = crops("a.h5sc", [f"f:{i}" for i in range(5)])
    embed_shard(path, MeanOfChannels(), tmp_path / "a.h5ad", batch_size=2, progress=watch)
    assert seen == [0, 2, 4]


IDS = [f"field {i // 4}:{i % 4 * 7}" for i in range(22)]


@settings(max_examples=4, deadline=None)
@given(shard_of=st.lists(st.integers(0, 3), min_size=len(IDS), max_size=len(IDS)), block=st.integers(1, 400))
def test_merged_file_does_not_depend_on_the_shards(tmp_path_factory, shard_of, block):
    folder = tmp_path_factory.mktemp("merge")
    embedder = MeanOfChannels(attention=True)

    def embedded(name, ids):
        images = np.stack([crop(np.full((SIDE, SIDE), hash_of(i)), seed=hash_of(i)) for i in ids] or [crop(disc(1))])
        write_h5sc(folder / f"{name}.h5sc", table(ids), images[: len(ids)], field_um=16.0)
        embed_shard(folder / f"{name}.h5sc", embedder, folder / f"{name}.h5ad", keep_attention=True)
        return folder / f"{name}.h5ad"

    shards = [embedded(k, [i for i, s in zip(IDS, shard_of, strict=True) if s == k]) for k in range(4)]
    # `cells_in_field` of this table counts the rows of a file, so it is the one column that may differ.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "MERGE_BYTES", block)
        merge_shards(shards, folder / "merged.h5ad")
    merge_shards([embedded("one", IDS[::-1])], folder / "whole.h5ad")
    merged, whole = (anndata.read_h5ad(folder / f"{name}.h5ad") for name in ("merged", "whole"))
    assert merged.obs_names.tolist() == sorted(IDS)
    np.testing.assert_array_equal(merged.X, whole.X)
    np.testing.assert_array_equal(merged.obsm["attention"], whole.obsm["attention"])
    assert merged.obsm["attention"].shape == (len(IDS), 2, 1, 4)
    ignore = ["cells_in_field"]
    pd.testing.assert_frame_equal(merged.obs.drop(columns=ignore), whole.obs.drop(columns=ignore))
    assert dict(merged.uns) == dict(whole.uns)


def test_merging_nothing_says_where_to_look(crops, tmp_path):
    embed_shard(crops("a.h5sc", []), MeanOfChannels(), tmp_path / "a.h5ad")
    with pytest.raises(NothingLeftError, match=r"no cell is left.*demo/set_aside\.tsv says which"):
        merge_shards([tmp_path / "a.h5ad"], tmp_path / "cells.h5ad", set_aside="demo/set_aside.tsv")
    assert not (tmp_path / "cells.h5ad").exists()


def test_shards_of_two_models_do_not_merge(crops, tmp_path):
    for name, model in (("a", "one"), ("b", "two")):
        embed_shard(crops(f"{name}.h5sc", [f"{name}:1"]), MeanOfChannels(model), tmp_path / f"{name}.h5ad")
    with pytest.raises(SubcellError, match=r"b\.h5ad was not embedded as .*model: 'two', not 'one'"):
        merge_shards([tmp_path / "a.h5ad", tmp_path / "b.h5ad"], tmp_path / "cells.h5ad")


def test_a_cell_in_two_shards_is_an_error(crops, tmp_path):
    for name in ("a", "b"):
        embed_shard(crops(f"{name}.h5sc", ["f:1"]), MeanOfChannels(), tmp_path / f"{name}.h5ad")
    with pytest.raises(SubcellError, match="'f:1' occurs in two shards"):
        merge_shards([tmp_path / "a.h5ad", tmp_path / "b.h5ad"], tmp_path / "cells.h5ad")


def test_damaged_vectors_are_named(tmp_path):
    (tmp_path / "a.h5ad").write_bytes(b"\x89HDF\r\n broken")
    with pytest.raises(CheckpointError, match=r"a\.h5ad: not a file of vectors"):
        merge_shards([tmp_path / "a.h5ad"], tmp_path / "cells.h5ad")


def test_missing_channel_is_refused_unless_the_model_was_trained_without(crops, tmp_path):
    path = crops("a.h5sc", ["f:1"], channels="microtubules;er;nucleus")
    with pytest.raises(SubcellError, match=r"field 'f' has no channel protein, which model 'means' needs"):
        embed_shard(path, MeanOfChannels(), tmp_path / "a.h5ad")
    tolerant = MeanOfChannels()
    tolerant.requires = ()
    embed_shard(path, tolerant, tmp_path / "a.h5ad")
    assert len(anndata.read_h5ad(tmp_path / "a.h5ad")) == 1


def test_vectors_that_are_not_finite_are_refused(crops, tmp_path):
    class Broken(MeanOfChannels):
        def embed(self, images, obs):
            found = super().embed(images, obs)
            found.vectors[-1, 0] = np.inf
            return found

    with pytest.raises(SubcellError, match="not finite for cell 'f:2'"):
        embed_shard(crops("a.h5sc", ["f:1", "f:2"]), Broken(), tmp_path / "a.h5ad")
    assert list(tmp_path.glob("*.h5ad")) == []


def test_embedders_from_settings(crops):
    path = crops("a.h5sc", ["f:1"])
    assert build_embedder("h", {"kind": "handcrafted"}, crops=path).description["kind"] == "handcrafted"
    assert build_embedder("s", {"kind": "shortcuts"}, crops=path).name == "s"
    with pytest.raises(ConfigError, match="kind 'dino'; expected one of subcell, random_vit, dino4cells"):
        build_embedder("x", {"kind": "dino"}, crops=path)
