"""The configuration: one typed model from which defaults, schema, documentation and error messages come.

Imports nothing itself, so that a job depends on those parts alone that it reads.
"""
