"""From released weights and crops to probabilities, with the reasons why not."""

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from released_example import WIDTH, checkpoint, head, saved

from subcell.atlas.units.locations import predict_locations
from subcell.catalog.fields import as_fields, shared_channels, write_fields
from subcell.catalog.released import location_names
from subcell.channels import CHANNELS
from subcell.crops.store import CropStore, write_h5sc
from subcell.embedding.attention import write_attention
from subcell.embedding.kinds import build_embedder
from subcell.embedding.run import embed_shard, merge_shards
from subcell.embedding.scale import degrade, write_scale_cost
from subcell.embedding.store import export_parquet
from subcell.errors import CheckpointError, SubcellError
from subcell.model.network.inputs import mask_and_scale
from subcell.model.weights.released import load_location_heads, load_released

SIDE = 160
UM = 0.0800885


def write_crops(path, *, channels=CHANNELS, cells=4, um_per_px=UM, pixel_size_um=UM, prefix=""):
    rng = np.random.default_rng(len(channels))
    images = rng.integers(0, 4096, (cells, 6, SIDE, SIDE), dtype=np.uint16)
    images[:, :2] = 0
    images[:, 1, 30:120, 40:130] = 1
    images[:, 0, 60:90, 60:90] = 1
    for number, name in enumerate(CHANNELS, start=2):
        if name not in channels:
            images[:, number] = 0
    obs = pd.DataFrame(
        {
            "field_id": ["f", "f", "g", "g"][:cells],
            "gene": ["A", "A", "B", "B"][:cells],
            "channels": ";".join(channels),
            "pixel_size_um": pixel_size_um,
        },
        index=[f"{prefix}f:{i}" for i in range(cells)],
    )
    write_h5sc(path, obs, images, field_um=SIDE * um_per_px)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Folders of two released networks, each with ten classifiers."""
    root = tmp_path_factory.mktemp("weights")
    for name, channels in (("all_channels", 4), ("DNA-Protein", 2)):
        folder = root / f"{name}_ViT-ProtS-Pool"
        folder.mkdir()
        saved(checkpoint(channels), folder / "encoder.pth")
        for seed in range(10):
            saved(head(seed, dim=2 * WIDTH), folder / f"location_{seed}.pth")
    return root


SETTINGS = {"kind": "subcell", "released": "all_channels", "recipe": "vit-prots-pool"}


def test_probabilities_are_the_mean_and_spread_of_ten_heads(weights, tmp_path):
    crops = write_crops(tmp_path / "a.h5sc")
    folder = weights / "all_channels_ViT-ProtS-Pool"
    embedder = build_embedder("subcell", SETTINGS, crops=crops, checkpoint=[folder])
    embed_shard(crops, embedder, tmp_path / "0.h5ad", batch_size=3)
    merge_shards([tmp_path / "0.h5ad"], tmp_path / "cells.h5ad")
    data = anndata.read_h5ad(tmp_path / "cells.h5ad")

    encoder, _ = load_released(folder / "encoder.pth")
    heads = load_location_heads(sorted(folder.glob("location_*.pth")))
    images = torch.from_numpy(CropStore(crops).read(range(4)).astype(np.float32))
    with torch.inference_mode():
        vectors = encoder(mask_and_scale(images[:, 2:], images[:, 1])).vector
        each = heads(vectors).numpy()
    np.testing.assert_allclose(data.X, vectors, atol=1e-5)
    np.testing.assert_allclose(data.obsm["probabilities"], each.mean(0), atol=1e-5)
    np.testing.assert_allclose(data.obsm["probabilities_sd"], each.std(0), atol=1e-5)
    assert list(data.uns["location_classes"]) == location_names()
    assert data.uns["released"] == "all_channels_ViT-ProtS-Pool"
    assert data.uns["largest_upsampling"] == pytest.approx(1, abs=1e-3)
    assert {"checkpoint_sha256", "versions", "normalisation", "um_per_px", "channels_replaced"} <= set(data.uns)

    predict_locations(tmp_path / "cells.h5ad", tmp_path / "locations.tsv")
    table = pd.read_csv(tmp_path / "locations.tsv", sep="\t")
    assert list(table) == ["unit", "location", "probability", "sd", "n_cells"]
    assert table.groupby("unit")["n_cells"].first().to_dict() == {"A": 2, "B": 2}
    found = table[table["unit"] == "A"].set_index("location")["probability"]
    np.testing.assert_allclose(found[location_names()], each.mean(0)[:2].mean(0), atol=1e-4)
    assert found.is_monotonic_decreasing

    export_parquet(tmp_path / "cells.h5ad", tmp_path / "cells.parquet", rows_at_a_time=3)
    flat = pq.read_table(tmp_path / "cells.parquet").to_pandas().set_index("cell_id")
    np.testing.assert_array_equal(flat[list(data.var_names)].to_numpy(), data.X)
    assert flat["gene"].tolist() == ["A", "A", "B", "B"]


def test_the_fitting_network_is_chosen_by_the_channels(weights, tmp_path):
    both = [weights / "all_channels_ViT-ProtS-Pool", weights / "DNA-Protein_ViT-ProtS-Pool"]
    lines = []
    full, two = write_crops(tmp_path / "a.h5sc"), write_crops(tmp_path / "b.h5sc", channels=("nucleus", "protein"))
    auto = SETTINGS | {"released": "auto"}
    assert build_embedder("m", auto, crops=full, checkpoint=both).requires == CHANNELS
    chosen = build_embedder("m", auto, crops=two, checkpoint=both, log=lines.append)
    assert chosen.requires == ("nucleus", "protein")
    assert "DNA-Protein_ViT-ProtS-Pool" in lines[0]
    embed_shard(two, chosen, tmp_path / "b.h5ad")
    one = write_crops(tmp_path / "c.h5sc", channels=("nucleus",))
    with pytest.raises(CheckpointError, match="no released network works with nucleus alone"):
        build_embedder("m", auto, crops=one, checkpoint=both)
    strict = build_embedder("m", SETTINGS, crops=two, checkpoint=both[:1])
    with pytest.raises(SubcellError, match=r"no channel microtubules, er.*channel_map.*released: auto"):
        embed_shard(two, strict, tmp_path / "x.h5ad")


def test_channels_of_a_dataset_are_those_of_all_its_fields():
    table = pd.DataFrame({"field_id": ["a", "b"], "nucleus": ["x.tif"] * 2, "er": ["x.tif", None], "protein": "x.tif"})
    assert shared_channels(as_fields(table)) == ("nucleus", "protein")
    # Published crops bring all channels, and a shard without fields says nothing.
    assert shared_channels(as_fields(pd.DataFrame({"field_id": ["a"]}))) == CHANNELS
    assert shared_channels(as_fields(table[:0])) == CHANNELS


def test_all_shards_of_a_dataset_take_one_network(weights, tmp_path):
    """One plate with four stains, one with two, and a shard without a field."""
    both = [weights / "all_channels_ViT-ProtS-Pool", weights / "DNA-Protein_ViT-ProtS-Pool"]
    stained = {"0": CHANNELS, "1": ("nucleus", "protein"), "2": ()}
    for shard, channels in stained.items():
        field = pd.DataFrame([{"field_id": shard, **dict.fromkeys(channels, "image.tif")}])
        write_fields(as_fields(field if channels else field[:0]), tmp_path / f"{shard}.parquet")
        write_crops(tmp_path / f"{shard}.h5sc", channels=channels, cells=2 if channels else 0, prefix=shard)
    auto, tables = SETTINGS | {"released": "auto"}, sorted(tmp_path.glob("*.parquet"))
    for shard in stained:
        crops = tmp_path / f"{shard}.h5sc"
        embedder = build_embedder("m", auto, crops=crops, fields=tables, checkpoint=both)
        embed_shard(crops, embedder, tmp_path / f"{shard}.h5ad")
    merge_shards([tmp_path / f"{shard}.h5ad" for shard in stained], tmp_path / "cells.h5ad")
    assert anndata.read_h5ad(tmp_path / "cells.h5ad").uns["released"] == "DNA-Protein_ViT-ProtS-Pool"


def test_what_is_measured_of_a_network_needs_its_channels_too(weights, tmp_path):
    full = write_crops(tmp_path / "a.h5sc")
    two = write_crops(tmp_path / "b.h5sc", channels=("nucleus", "protein"), prefix="b")
    embedder = build_embedder("m", SETTINGS, crops=full, checkpoint=[weights / "all_channels_ViT-ProtS-Pool"])
    lacking = "field 'f' has no channel microtubules, er, which model 'm' needs"
    with pytest.raises(SubcellError, match=lacking):
        write_attention([full, two], embedder, tmp_path / "a.tsv", tmp_path / "a.npz")
    with pytest.raises(SubcellError, match=lacking):
        write_scale_cost([full, two], embedder, tmp_path / "scale.tsv")


def test_a_stain_that_stands_in_is_read_and_recorded(weights, tmp_path):
    crops = write_crops(tmp_path / "a.h5sc", channels=("er", "nucleus", "protein"))
    settings = SETTINGS | {"channel_map": {"microtubules": "er"}}
    embedder = build_embedder("m", settings, crops=crops, checkpoint=[weights / "all_channels_ViT-ProtS-Pool"])
    embed_shard(crops, embedder, tmp_path / "a.h5ad", about={"stains_replaced": "er=mito"})
    data = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert data.uns["channels_replaced"] == "microtubules=er"
    assert data.uns["stains_replaced"] == "er=mito"


def test_classifiers_of_another_network_and_another_scale_are_refused(weights, tmp_path):
    crops = write_crops(tmp_path / "a.h5sc")
    saved(head(0, dim=24), tmp_path / "odd.pth")
    settings = SETTINGS | {"classifiers": [str(tmp_path / "odd.pth")]}
    with pytest.raises(CheckpointError, match="take vectors of 24 numbers, its network gives 256"):
        build_embedder("m", settings, crops=crops, checkpoint=[weights / "all_channels_ViT-ProtS-Pool"])
    coarse = write_crops(tmp_path / "b.h5sc", um_per_px=0.32)
    with pytest.raises(CheckpointError, match=r"at 0\.080 or 0\.160 um a pixel, these have 160 px at 0\.320"):
        build_embedder("m", SETTINGS, crops=coarse, checkpoint=[weights / "all_channels_ViT-ProtS-Pool"])


@pytest.mark.parametrize(("factor", "warned", "refused"), [(1.5, False, False), (3, True, False), (7.5, True, True)])
def test_enlarging_pixels_is_warned_of_then_refused(weights, tmp_path, factor, warned, refused):
    crops = write_crops(tmp_path / "a.h5sc", pixel_size_um=factor * UM, cells=1)
    embedder = build_embedder("m", SETTINGS, crops=crops, checkpoint=[weights / "all_channels_ViT-ProtS-Pool"])
    lines = []
    if refused:
        with pytest.raises(SubcellError, match=r"enlarged 7\.5 times.*allow_upsampling"):
            embed_shard(crops, embedder, tmp_path / "a.h5ad", allow_upsampling=False)
    embed_shard(crops, embedder, tmp_path / "a.h5ad", allow_upsampling=refused, log=lines.append)
    assert bool(lines) == warned


def test_what_coarse_pixels_cost_is_measured(weights, tmp_path):
    crops = write_crops(tmp_path / "a.h5sc")
    embedder = build_embedder("m", SETTINGS, crops=crops, checkpoint=[weights / "all_channels_ViT-ProtS-Pool"])
    write_scale_cost([crops], embedder, tmp_path / "scale.tsv", factors=(1, 4))
    table = pd.read_csv(tmp_path / "scale.tsv", sep="\t")
    assert table["factor"].tolist() == [1, 4]
    assert table["um_per_px"].tolist() == pytest.approx([UM, 4 * UM], rel=1e-3)
    assert table.loc[0, "cosine"] == pytest.approx(1, abs=1e-5)
    assert table.loc[1, "cosine"] < 0.999
    images = CropStore(crops).read([0])
    coarse = degrade(images, 4)
    np.testing.assert_array_equal(coarse[:, :2], images[:, :2])
    assert coarse[0, 2].std() < 0.4 * images[0, 2].std()
    assert coarse[0, 2].mean() == pytest.approx(images[0, 2].mean(), rel=0.01)
