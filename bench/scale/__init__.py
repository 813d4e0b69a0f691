"""Measures rows per second and per CPU second with 1, 2 and 4 replicas of both services."""
