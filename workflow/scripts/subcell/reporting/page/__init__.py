"""The HTML page that a person reads, its sections, and the crate and model cards beside it."""
