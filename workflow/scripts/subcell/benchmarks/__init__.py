"""One file a benchmark, and what they share: metrics, bootstrap over proteins, the classifier on frozen embeddings."""
