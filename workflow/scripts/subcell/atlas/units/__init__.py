"""From cells to units: proteins, wells, compounds; filters and batches."""
