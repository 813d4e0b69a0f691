"""Whole systems for the known failures: a shop, the connector, the catalog's own parts and PostgreSQL."""

from __future__ import annotations

from tests.integration.end_to_end.conftest import certificates, opens

__all__ = ["certificates", "opens"]
