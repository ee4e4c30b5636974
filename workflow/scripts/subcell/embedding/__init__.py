"""From crops to vectors: trained and untrained networks, classical features, and the shortcuts that must not suffice."""
