"""The map for Cytoscape: the tree as CX2, the same tree as HCX, and the network of units that HCX refers to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from ndex2.cx2 import CX2Network
from scipy import sparse

EDGES_OF_UNIT = 10
"""Strongest edges of each unit that go into the network, so that a large map still opens."""

LAYOUT_PX = 100
"""Distance in Cytoscape of one unit of the UMAP, and of neighbouring nodes of the tree."""


def write_networks(
    units: anndata.AnnData,
    clusters: pd.DataFrame,
    *,
    tree: Path,
    hierarchy: Path,
    proteins: Path,
    name: str,
    proteins_name: str,
) -> None:
    """Write the three networks.

    Parameters
    ----------
    units : map with level_1 to level_L, obsm["X_umap"], obsp["connectivities"]
    clusters : table of clusters, as in clusters.tsv
    tree : CX2 file of a node a cluster and an edge from each parent
    hierarchy : the same as HCX (schema hierarchy_v0.1), whose nodes name their members in the network of units
    proteins : CX2 file of the units, with their clusters, places on the UMAP and strongest edges
    name : of the map
    proteins_name : name of the file of units that the hierarchy refers to
    """
    _units_network(units, name).write_as_raw_cx2(str(proteins))
    _tree_network(clusters, name).write_as_raw_cx2(str(tree))
    _hierarchy(units, clusters, name, proteins_name).write_as_raw_cx2(str(hierarchy))


def _units_network(units: anndata.AnnData, name: str) -> CX2Network:
    network = CX2Network()
    network.set_network_attributes({"name": f"{name}: units", "description": "Units and their nearest neighbours"})
    levels = [column for column in units.obs if str(column).startswith("level_")]
    for row, unit in enumerate(units.obs_names):
        about = {"name": str(unit), **{level: str(units.obs[level].iloc[row]) for level in levels}}
        for column in ("gene", "locations", "n_cells"):
            if column in units.obs and pd.notna(units.obs[column].iloc[row]):
                about[column] = _plain(units.obs[column].iloc[row])
        x, y = LAYOUT_PX * units.obsm["X_umap"][row].astype(float)
        network.add_node(node_id=row, attributes=about, x=float(x), y=float(-y))
    for number, (one, other, weight) in enumerate(_strongest_edges(units)):
        network.add_edge(edge_id=number, source=one, target=other, attributes={"weight": weight})
    return network


def _strongest_edges(units: anndata.AnnData) -> list[tuple[int, int, float]]:
    if "connectivities" not in units.obsp:
        return []
    graph = sparse.csr_array(units.obsp["connectivities"])
    kept: dict[tuple[int, int], float] = {}
    for row in range(graph.shape[0]):
        start, stop = graph.indptr[row], graph.indptr[row + 1]
        strongest = np.lexsort((graph.indices[start:stop], -graph.data[start:stop]))[:EDGES_OF_UNIT]
        for place in strongest + start:
            other = int(graph.indices[place])
            if other != row:
                kept[min(row, other), max(row, other)] = float(graph.data[place])
    return [(one, other, weight) for (one, other), weight in sorted(kept.items())]


def _tree_network(clusters: pd.DataFrame, name: str) -> CX2Network:
    network = CX2Network()
    network.set_network_attributes({"name": name, "description": "Clusters of all levels, an edge from each parent"})
    _add_tree(network, clusters, root=None)
    return network


def _hierarchy(units: anndata.AnnData, clusters: pd.DataFrame, name: str, proteins: str) -> CX2Network:
    network = CX2Network()
    network.set_network_attributes(
        {
            "name": f"{name}: hierarchy",
            "ndexSchema": "hierarchy_v0.1",
            "HCX::modelFileCount": "2",
            # On upload, NDEx's number of that network takes the place of its name.
            "HCX::interactionNetworkName": proteins,
        }
    )
    number = {str(unit): row for row, unit in enumerate(units.obs_names)}
    first = clusters[clusters["level"] == 1]
    # HCX wants one root; where the first level has several clusters, a node above them holds everything.
    root = None if len(first) == 1 else list(number)
    nodes = _add_tree(network, clusters, root=root)
    members_of = dict(zip(zip(clusters["level"], clusters["cluster"], strict=True), clusters["members"], strict=True))
    names = {unit.replace(";", ","): row for unit, row in number.items()}
    for key, node in nodes.items():
        members = list(names) if key == (0, "") else members_of[key].split(";")
        is_root = key == (0, "") or (root is None and key[0] == 1)
        network.add_node_attribute(node, "HCX::isRoot", is_root, datatype="boolean")
        network.add_node_attribute(node, "HCX::members", [names[unit] for unit in members], datatype="list_of_long")
        network.add_node_attribute(node, "HCX::memberNames", members, datatype="list_of_string")
    return network


def _add_tree(network: CX2Network, clusters: pd.DataFrame, *, root: list[str] | None) -> dict[tuple[int, str], int]:
    """Add a node a cluster and an edge from each parent; numbers of the nodes by level and cluster."""
    nodes: dict[tuple[int, str], int] = {}
    if root is not None:
        about = {"name": "all", "level": 0, "size": len(root)}
        nodes[0, ""] = network.add_node(node_id=len(clusters), attributes=about, x=0.0, y=0.0)
    for level, part in clusters.groupby("level", sort=True):
        middle = (len(part) - 1) / 2
        for place, row in enumerate(part.to_dict("records")):
            about = {"name": str(row["name"]), "label": f"{level}.{row['cluster']}"}
            for key, value in row.items():
                missing = value is None or (not isinstance(value, str) and pd.isna(value)) or value == ""
                if key not in ("name", "members") and not missing:
                    about[str(key)] = _plain(value)
            about["members"] = str(row["members"]).split(";")
            node = network.add_node(
                node_id=len(nodes) - (root is not None),
                attributes=about,
                x=LAYOUT_PX * (place - middle),
                y=float(2 * LAYOUT_PX * int(level)),
            )
            nodes[int(level), str(row["cluster"])] = node
    for row in clusters.to_dict("records"):
        above = (int(row["level"]) - 1, str(row["parent"]))
        if above in nodes:
            here = nodes[int(row["level"]), str(row["cluster"])]
            network.add_edge(source=nodes[above], target=here, attributes={"interaction": "contains"})
    return nodes


def _plain(value: Any) -> Any:
    """Numbers and truth values as CX2 knows them."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    return str(value)
