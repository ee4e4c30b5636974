"""Weights as they are kept and as they were released."""
