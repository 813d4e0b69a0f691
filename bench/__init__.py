"""The benchmarks behind every figure in docs/performance.md, one package each: `python -m bench.<name>`."""
