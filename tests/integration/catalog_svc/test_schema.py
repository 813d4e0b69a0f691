"""The migrations make the very tables that the code uses, and may be run by anybody at any time."""

from __future__ import annotations

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.schema import SchemaOutdated, check_schema, migrate
from catalog_svc.storage.tables import metadata


async def test_migrations_lead_to_the_tables_of_the_code(database_url: str) -> None:
    engine = open_engine(database_url)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_two_replicas_may_migrate_at_once(empty_database_url: str) -> None:
    engines = [open_engine(empty_database_url) for _ in range(2)]
    versions = await asyncio.gather(*(migrate(engine) for engine in engines))
    assert versions[0] == versions[1] != ""
    for engine in engines:
        await check_schema(engine)
        await engine.dispose()


async def test_a_catalog_refuses_to_start_on_an_old_schema(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    with pytest.raises(SchemaOutdated, match="python -m catalog_svc migrate"):
        await check_schema(engine)
    await engine.dispose()


async def test_every_key_and_index_of_a_tenant_begins_with_the_merchant(database_url: str) -> None:
    """So that the schema can be distributed by merchant; lookups by sync id and request id are the exceptions."""
    engine = open_engine(database_url)
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("""
            SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid, 1, true) AS first
            FROM pg_index WHERE indrelid::regclass::text = ANY(:tables)"""),
            {"tables": [t for t in metadata.tables if t != "shop"]},
        )
        others = {row.name for row in rows if row.first != "merchant_id"}
    await engine.dispose()
    assert others == {"sync_active", "sync_by_id", "idempotency_by_request"}
