"""The benchmarks behind every figure in docs/performance.md."""
