"""What ran, on what, with which software."""
