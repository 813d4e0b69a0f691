"""Fixtures of the end-to-end tests: a shop, the connector, the catalog's parts and PostgreSQL."""

from __future__ import annotations

from tests.integration.end_to_end.conftest import certificates, opens

__all__ = ["certificates", "opens"]
