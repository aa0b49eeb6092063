"""What the benchmarks print; never how long it took."""
