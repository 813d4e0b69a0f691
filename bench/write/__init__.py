"""Measures rows per second of the batch writer, beside an ORM, multi-row upserts and raw COPY."""
