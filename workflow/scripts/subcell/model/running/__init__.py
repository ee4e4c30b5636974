"""Processes that train side by side, and signals that end them."""
