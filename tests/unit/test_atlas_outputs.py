"""What a map leaves behind: the paper's map from a table of the released format, networks, figure, single cells."""

import hashlib
import http.server
import threading
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from ndex2.cx2 import RawCX2NetworkFactory
from sklearn.metrics import adjusted_rand_score

from subcell.atlas.clusters.compiled import load_umap
from subcell.atlas.knowledge.published import read_counts
from subcell.atlas.map.map import TABLES, Settings, build_map, write_map
from subcell.atlas.units.planted import plant
from subcell.config.check import resolve
from subcell.config.map import Map
from subcell.errors import SubcellError
from subcell.sources.download import Cache, Downloader, Limits
from subcell.sources.reference import fetch_reference

ROOT = Path(__file__).parents[2]
NETWORKS = {"tree": "map.cx2", "hierarchy": "map.hcx.cx2", "proteins": "map.proteins.cx2"}


def written(found, folder):
    folder.mkdir(exist_ok=True)
    write_map(
        found,
        folder / "map.h5ad",
        {name: folder / f"{name}.tsv" for name in TABLES},
        networks={name: folder / file for name, file in NETWORKS.items()},
        figures=[folder / "figures" / "map.png", folder / "figures" / "map.svg"],
        single_cells=folder / "cells_umap.parquet",
        title="SIMULATED",
    )
    return folder


@pytest.fixture(scope="module")
def papers_map(tmp_path_factory):
    """config/paper-map.yaml on a SIMULATED table in the released format, with complexes as a GMT file."""
    folder = tmp_path_factory.mktemp("paper")
    planted = plant(240, lines=("U2OS", "HeLa"), plate_effect=0.5, seed=6)
    planted.cells.obs["gene_reliability"] = planted.cells.obs["gene_reliability"].cat.add_categories("Uncertain")
    planted.cells.obs.loc[planted.cells.obs["gene_names"] == "SIMGENE00007", "gene_reliability"] = "Uncertain"
    planted.cells.write_h5ad(folder / "cells.h5ad")
    complexes = planted.genes["complex"].dropna()
    lines = [f"{name}\tSIMULATED\t" + "\t".join(part.index) for name, part in complexes.groupby(complexes)]
    (folder / "complexes.gmt").write_text("\n".join(lines) + "\n")
    published = planted.genes["compartment"].rename("Cluster_level_2")
    published.reset_index().rename(columns={"gene": "Gene"}).to_csv(folder / "published.tsv", sep="\t", index=False)
    section = Map.model_validate(yaml.safe_load((ROOT / "config" / "paper-map.yaml").read_text())["map"]).model_dump()
    left_out = {"datasets", "models", "lines", "workers", "downloads"}
    settings = {key: value for key, value in section.items() if key not in left_out}
    settings |= {
        "gene_sets": [{"name": "complexes", "file": str(folder / "complexes.gmt"), "pairs": True}],
        "published": str(folder / "published.tsv"),
        "published_counts": str(ROOT / settings["published_counts"]),
        "paper_levels": [(0.0, 125), (0.02, 60), (0.5, 20), (0.8, 5)],
        "single_cells": 300,
        "seeds": 2,
        "bootstraps": 1,
        "findings": None,
    }
    return planted, build_map(folder / "cells.h5ad", Settings(**settings)), folder


def test_the_papers_map_from_a_released_table(papers_map):
    planted, found, _ = papers_map
    steps = found.tables["filters"]
    assert steps["step"].tolist()[1] == "cell lines U2OS"
    antibodies = planted.cells.obs.groupby("gene_names", observed=True)["antibody"].nunique()
    every, certain = 15 * antibodies.sum(), 15 * antibodies.drop("SIMGENE00007").sum()
    assert steps["cells"].tolist() == [2 * every, every, every, every, certain, 239 * 15]
    assert found.units.n_obs == 239
    assert found.units.uns["batches"] == ["microscope", "plate"]
    assert found.tables["levels"]["clusters"].tolist()[0] == 1
    truth = planted.genes.loc[found.units.obs_names]
    levels = [found.units.obs[f"level_{level}"].cat.codes for level in (1, 2, 3, 4)]
    assert max(adjusted_rand_score(truth["compartment"], level) for level in levels) > 0.8
    assert max(adjusted_rand_score(truth["substructure"], level) for level in levels) > 0.8
    assert steps["published_cells"].tolist() == [1138378, 295893, 265938, 257331, 246994, 203827]
    assert steps["published_genes"].tolist()[-1] == 9543
    assert found.tables["levels"]["published_clusters"].tolist() == [1, 2, 6, 14]
    agreement = found.tables["agreement"]
    assert (agreement["level"].isna() & (agreement["reference"] == "complexes")).sum() == 12, (
        "of one graph, beside levels"
    )
    agreement = agreement.dropna(subset="level").set_index(["reference", "level"])
    assert agreement.loc[("published clusters", 2), "value"] > 0.8
    last = agreement.loc[("complexes", 4)]
    assert last["value"] > 5 * last["shuffled"]
    assert found.tables["clusters"]["top_term"].str.startswith("SIM complex").any()


def test_counts_that_are_compared_with_nothing_are_named(tmp_path):
    path = tmp_path / "counts.tsv"
    path.write_text("table\trow\tcolumn\tpublished\nlevels\t1\tcells\t9\n")
    with pytest.raises(
        SubcellError, match=r"counts\.tsv: '9' cells of levels, row '1'; expected a number of cells of filters"
    ):
        read_counts(path)
    path.write_text("level\tclusters\n1\t1\n")
    with pytest.raises(SubcellError, match="no column column, published, row, table"):
        read_counts(path)


def test_a_map_of_cells_in_which_nothing_is_planted_finds_nothing(tmp_path):
    """Antibodies of a gene look alike, and no more is true: sets of four genes, locations and plates mean nothing."""
    found = []
    for number in range(2):
        planted = plant(120, distances=(0, 0, 0, 3.0), second_antibodies=1.0, seed=number)
        planted.cells.write_h5ad(tmp_path / "cells.h5ad")
        rng = np.random.default_rng(number)
        sets = [(f"set {n}", gene) for n in range(80) for gene in rng.choice(planted.genes.index, 4, replace=False)]
        (tmp_path / "sets.tsv").write_text("".join(f"{term}\t{gene}\n" for term, gene in sets))
        settings = Settings(unit="antibody", gene_sets=[{"name": "sets", "file": str(tmp_path / "sets.tsv")}], curve=0,
                            levels=[0.5, 2.0, 6.0], neighbors=5, seeds=1, bootstraps=0, findings=None)  # fmt: skip
        found.append(build_map(tmp_path / "cells.h5ad", settings).tables["enrichment_controls"])
    table = pd.concat(found)
    assert set(table["source"]) == {"locations", "sets", "plate", "microscope"}
    assert len(table) == 2 * 3 * 4
    assert (table["clusters"] > 5).any()
    assert (table["significant"] > 0).mean() <= 0.05


def test_everything_opens_in_other_tools(papers_map, tmp_path):
    import scanpy

    _, found, _ = papers_map
    folder = written(found, tmp_path / "out")
    units = scanpy.read_h5ad(folder / "map.h5ad")
    scanpy.tl.rank_genes_groups(units, "level_2", method="t-test", n_genes=2)
    assert {"level_1", "stability_1", "consensus_1", "locations", "n_cells"} <= set(units.obs)
    assert units.obs["stability_2"].between(0, 1).all()
    assert units.obsm["X_umap"].shape == (239, 2)
    for name, columns in TABLES.items():
        assert pd.read_csv(folder / f"{name}.tsv", sep="\t").columns.tolist() == list(columns)
    single = pd.read_parquet(folder / "cells_umap.parquet")
    assert len(single) == 300
    assert np.isfinite(single[["x", "y"]]).all().all()
    expected = units.obs["level_2"].astype(str).reindex(single["unit"]).tolist()
    assert single["level_2"].tolist() == expected
    assert (folder / "figures" / "map.png").read_bytes().startswith(b"\x89PNG")
    assert "SIMULATED" in (folder / "figures" / "map.svg").read_text()
    assert not list(folder.rglob(".*")), "nothing temporary is left"


def test_networks_make_the_round_trip(papers_map, tmp_path):
    _, found, _ = papers_map
    folder = written(found, tmp_path / "out")
    clusters = found.tables["clusters"]
    read = {name: RawCX2NetworkFactory().get_cx2network(str(folder / file)) for name, file in NETWORKS.items()}
    for name, network in read.items():
        network.write_as_raw_cx2(str(tmp_path / name))
        again = RawCX2NetworkFactory().get_cx2network(str(tmp_path / name))
        assert again.get_nodes() == network.get_nodes()
        assert again.get_edges() == network.get_edges()
    tree = read["tree"]
    assert len(tree.get_nodes()) == len(clusters)
    assert len(tree.get_edges()) == (clusters["level"] > 1).sum()
    labels = {node["v"]["label"]: node["v"] for node in tree.get_nodes().values()}
    for row in clusters.to_dict("records"):
        node = labels[f"{row['level']}.{row['cluster']}"]
        assert node["size"] == row["size"]
        assert node["members"] == row["members"].split(";")
    hierarchy = read["hierarchy"]
    attributes = hierarchy.get_network_attributes()
    assert attributes["ndexSchema"] == "hierarchy_v0.1"
    assert attributes["HCX::interactionNetworkName"] == NETWORKS["proteins"]
    roots = [node for node in hierarchy.get_nodes().values() if node["v"]["HCX::isRoot"]]
    assert len(roots) == 1
    proteins = read["proteins"].get_nodes()
    assert len(roots[0]["v"]["HCX::members"]) == len(proteins) == 239
    for node in hierarchy.get_nodes().values():
        names = [proteins[member]["v"]["name"] for member in node["v"]["HCX::members"]]
        assert names == node["v"]["HCX::memberNames"]
    assert all(edge["s"] in proteins and edge["t"] in proteins for edge in read["proteins"].get_edges().values())


def test_a_map_with_several_clusters_at_its_first_level_gets_one_root(tmp_path):
    planted = plant(60, fields=1, seed=7)
    planted.cells.write_h5ad(tmp_path / "cells.h5ad")
    found = build_map(tmp_path / "cells.h5ad", Settings(levels=[2.0], seeds=1, bootstraps=0, curve=0, neighbors=5))
    folder = written(found, tmp_path / "out")
    hierarchy = RawCX2NetworkFactory().get_cx2network(str(folder / NETWORKS["hierarchy"]))
    assert len(found.tables["clusters"]) > 1
    roots = [node["id"] for node in hierarchy.get_nodes().values() if node["v"]["HCX::isRoot"]]
    assert len(roots) == 1
    assert {edge["s"] for edge in hierarchy.get_edges().values()} == set(roots)
    clusters = found.tables["clusters"]
    assert clusters["stability_bootstrap"].isna().all()
    assert (clusters["not_measured"] == "bootstrap;held_out").all()
    assert clusters["stability"].tolist() == clusters["stability_seeds"].tolist()


def test_the_stability_of_a_cluster_is_the_least_of_the_kinds_that_were_run(papers_map):
    """Seeds share graph and cells, so a cluster that no resample finds again would look stable."""
    clusters = papers_map[1].tables["clusters"]
    kinds = clusters[[f"stability_{kind}" for kind in ("seeds", "bootstrap", "held_out")]]
    pd.testing.assert_series_equal(clusters["stability"], kinds.min(axis=1), check_names=False)
    assert (clusters["stability"] < clusters["stability_seeds"]).any()
    unknown = kinds.isna().apply(
        lambda row: ";".join(name.removeprefix("stability_") for name in kinds.columns[row]), axis=1
    )
    assert clusters["not_measured"].tolist() == unknown.tolist()
    assert (clusters["stable"] == (clusters["stability"] >= Settings().stable_at).astype(str)).all()


def test_shards_and_a_missing_line(papers_map, tmp_path):
    _, _, source = papers_map
    cells = anndata.read_h5ad(source / "cells.h5ad")
    moved = np.argsort(np.arange(cells.n_obs) % 3, kind="stable")
    cells[moved].copy().write_h5ad(tmp_path / "moved.h5ad")
    settings = Settings(filters={"cell_lines": ["U2OS"]}, levels=[0.5], seeds=2, bootstraps=2, curve=0)
    one, other = build_map(source / "cells.h5ad", settings), build_map(tmp_path / "moved.h5ad", settings)
    for name in TABLES:
        pd.testing.assert_frame_equal(one.tables[name], other.tables[name])
    none = build_map(source / "cells.h5ad", Settings(filters={"cell_lines": ["RPE1"]}))
    assert none.units.n_obs == 0
    assert none.units.uns["not_run"] == "no cells of RPE1; there are HeLa, U2OS"
    assert len(written(none, tmp_path / "none").joinpath("clusters.tsv").read_text().splitlines()) == 1


def test_a_missing_gene_set_file_leaves_nothing_half_written(papers_map):
    _, _, source = papers_map
    with pytest.raises(SubcellError, match=r"nowhere\.gmt"):
        build_map(
            source / "cells.h5ad", Settings(gene_sets=[{"name": "x", "file": "nowhere.gmt"}], seeds=1, bootstraps=0)
        )


def test_configured_maps_that_do_not_fit_together_are_refused():
    from subcell.errors import ConfigError

    base = {"datasets": {"demo": {"source": "simulate"}}}
    for section, message in (
        ({"ladder": {"lowest": 2, "highest": 1}}, "`highest` must be above `lowest`"),
        ({"gene_sets": [{"name": "a", "file": "x"}, {"name": "a", "file": "y"}]}, "two references are called 'a'"),
        ({"downloads": {"a.gmt": {"url": "file:///etc/passwd"}}}, "map.downloads"),
        ({"downloads": {"../a.gmt": {"url": "https://example.org/a"}}}, "map.downloads"),
    ):
        with pytest.raises(ConfigError, match=message):
            resolve(base | {"map": section})


def test_umap_is_read_back_and_numba_is_left_as_it_was():
    import numba

    before = numba.njit
    assert load_umap().UMAP is load_umap().UMAP
    assert numba.njit is before


@pytest.fixture
def server(tmp_path):
    """A web server of one file."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "sets.gmt").write_text("T\tabout\tA\tB\n")
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *given: handler(*given, directory=str(tmp_path / "served"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/sets.gmt"
    server.shutdown()
    server.server_close()


def test_a_reference_is_held_to_its_checksum(server, tmp_path):
    target, ledger = tmp_path / "references" / "sets.gmt", tmp_path / "state" / "sets.sha256"

    def fetch(url, name, sha256=None):
        downloader = Downloader(Cache(tmp_path / name), Limits(tries=1), log=lambda _: None)
        return fetch_reference(url, target, downloader=downloader, sha256=sha256, ledger=ledger)

    digest = hashlib.sha256((tmp_path / "served" / "sets.gmt").read_bytes()).hexdigest()
    assert fetch(server, "a") == digest
    assert target.read_text().startswith("T\t")
    target.unlink()
    (tmp_path / "served" / "sets.gmt").write_text("another\tabout\tA\n")
    with pytest.raises(SubcellError, match=rf"sha256 is .*{ledger.name} says {digest}"):
        fetch(server, "b")
    with pytest.raises(SubcellError, match="the configuration says 000"):
        fetch(server, "c", "0" * 64)
    with pytest.raises(SubcellError, match="404"):
        fetch(server + "x", "d")
    assert not target.exists()
