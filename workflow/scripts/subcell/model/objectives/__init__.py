"""Losses, the heads and masks that they need, and recipes that combine them."""
