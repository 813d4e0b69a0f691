"""Measures whole syncs from a shop into PostgreSQL, beside dlt and the legacy services."""
