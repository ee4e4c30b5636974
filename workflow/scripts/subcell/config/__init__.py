"""The configuration: one typed model from which defaults, schema, documentation and error messages come."""

from subcell.config.check import resolve
from subcell.config.keys import check_keys_once
from subcell.config.model import Config

__all__ = ["Config", "check_keys_once", "resolve"]
