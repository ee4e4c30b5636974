"""Batches of crops: what is drawn, read and augmented."""
