"""What the benchmarks share: services and stores as processes, measurements, results and their tables."""
