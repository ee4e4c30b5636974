"""What benchmarks read beside vectors: labels, pairs, expression, profiles of wells, changed images."""
