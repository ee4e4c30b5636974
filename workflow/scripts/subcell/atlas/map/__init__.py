"""The map as a whole, and each protein's neighbours."""
