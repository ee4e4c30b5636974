"""Tables of scores, over benchmarks, models and seeds."""
