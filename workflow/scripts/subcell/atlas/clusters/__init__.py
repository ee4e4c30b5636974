"""Neighbour graph, Leiden clusters at rising resolutions, their hierarchy and stability."""
