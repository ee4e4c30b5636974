"""From crops to vectors: trained and untrained networks, classical features, shortcuts that must not suffice."""
