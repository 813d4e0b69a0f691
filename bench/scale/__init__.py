"""Measures rows per second, and rows per CPU second, with 1, 2 and 4 replicas of both services."""
