"""What is known of proteins against the clusters: gene sets, interactions, published maps."""
