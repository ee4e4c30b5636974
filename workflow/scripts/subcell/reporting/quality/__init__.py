"""What a dataset holds and what was set aside."""
