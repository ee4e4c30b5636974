"""From cells to units (proteins, wells, compounds) to a map: graph, Leiden clusters at rising resolutions, UMAP."""
