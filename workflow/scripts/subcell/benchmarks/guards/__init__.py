"""What keeps a score honest: leakage, held-out cells, who was scored on them, control rows."""
