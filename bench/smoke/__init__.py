"""Runs small benchmarks and compares their ratios with the recorded ones."""
