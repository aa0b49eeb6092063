"""What this project claims of speed, measured: each `bench_<what>` prints one table. See README.md."""
