"""Measures rows per second of the batch writer, compared with an ORM, multi-row upserts and raw COPY."""
