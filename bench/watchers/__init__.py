"""Crowds of watchers for the benchmarks, in processes of their own."""
