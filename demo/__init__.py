"""Runs the whole system on one machine, from an empty directory: generated shops, both services and PostgreSQL."""
