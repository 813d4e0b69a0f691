"""Draws docs/benchmarks.svg from the results in bench/results."""
