"""Measures whole syncs from a shop into PostgreSQL, compared with dlt and the legacy services."""
