"""What of a map is written and drawn."""
