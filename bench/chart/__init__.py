"""Draws docs/benchmarks.svg from the recorded results in bench/results."""
