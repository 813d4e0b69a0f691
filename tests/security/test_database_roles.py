"""The roles of the database: who is bound by row-level security, and what the service role may do."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest
from alembic import command
from catalogsync_common.settings import load_settings
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc import bootstrap
from catalog_svc.domain.sync import SyncState
from catalog_svc.settings import CatalogSettings
from catalog_svc.storage import schema
from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import SERVICE_ROLE
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.roles import (
    FUNCTIONS,
    TENANT_TABLES,
    RoleNotIsolated,
    ServiceRoleUnusable,
    check_role,
)
from catalog_svc.storage.schema import migrate
from tests.conftest import OWNER, execute, superuser_url
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld

_WITHOUT_WALL = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
      AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'shop_id' AND attnum > 0)
      AND NOT (relrowsecurity AND relforcerowsecurity)"""
_DIRECTLY_USABLE_PARTITIONS = """
    SELECT relname FROM pg_class
    WHERE relispartition AND relkind = 'r'
      AND has_table_privilege('catalog_app', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')"""


async def names(engine: AsyncEngine, query: str) -> list[str]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(query))).scalars())


async def test_every_table_with_a_shop_has_forced_row_level_security(
    engine: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    """Also partitions, those that are created later included."""

    async def create(connection: AsyncConnection) -> None:
        values = {"month": date(2031, 5, 1)}
        await connection.execute(text("SELECT create_month_partition('sync_history', :month)"), values)

    await Database(engine).write(create)
    assert "sync_history_2031_05" in await names(owner_engine, "SELECT relname FROM pg_class WHERE relispartition")
    assert await names(owner_engine, _WITHOUT_WALL) == []
    assert await names(owner_engine, _DIRECTLY_USABLE_PARTITIONS) == []
    declared = "SELECT relname FROM pg_class WHERE relforcerowsecurity AND NOT relispartition ORDER BY relname"
    assert await names(owner_engine, declared) == sorted(TENANT_TABLES)

    # The query does find a table without.
    async with owner_engine.begin() as connection:
        await connection.execute(text("CREATE TABLE open_table (shop_id uuid)"))
    assert await names(owner_engine, _WITHOUT_WALL) == ["open_table"]


async def test_the_functions_are_for_the_service_role_alone(owner_engine: AsyncEngine) -> None:
    async with owner_engine.connect() as connection:
        found = await connection.execute(
            text("""
            SELECT proname, proconfig, prosecdef, has_function_privilege('public', oid, 'EXECUTE') AS public,
                has_function_privilege('catalog_app', oid, 'EXECUTE') AS service
            FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND pg_get_userbyid(proowner) = :owner
              AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"""),
            {"owner": OWNER},
        )
        functions = {row.proname: row for row in found}
    for name in ("force_row_security", "record_change_of_older_release"):
        internal = functions.pop(name)
        assert (internal.public, internal.service) == (False, False)
    assert sorted(functions) == sorted(FUNCTIONS)
    for name, row in functions.items():
        assert (row.prosecdef, row.public, row.service) == (True, False, True), name
        # A caller's temporary table cannot stand for one of ours.
        assert "search_path=pg_catalog, public, pg_temp" in row.proconfig, name


@pytest.mark.parametrize(
    ("parent", "month"), [("item", date(2031, 5, 1)), ("sync_history; DROP TABLE item", date(2031, 5, 1)),
                          ("sync_history", date(2031, 5, 2))]
)  # fmt: skip
async def test_partitions_are_created_and_dropped_by_month_only(
    engine: AsyncEngine, parent: str, month: date
) -> None:
    for function in ("create_month_partition", "drop_month_partition"):

        async def call(connection: AsyncConnection, function: str = function) -> None:
            await connection.execute(
                text(f"SELECT {function}(:parent, :month)"), {"parent": parent, "month": month}
            )

        with pytest.raises(DBAPIError, match="no table with partitions"):
            await Database(engine, attempts=1).write(call)


@pytest.mark.needs_session("it asks for the role of the connection")
async def test_the_service_starts_in_production_with_a_bound_role_alone(
    engine: AsyncEngine, owner_engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    await check_role(engine, production=True)
    assert caplog.text == ""
    superuser = open_engine(superuser_url(engine))
    await execute(superuser_url(engine), f"CREATE ROLE member_{id(engine)} LOGIN IN ROLE {OWNER}")
    await execute(superuser_url(engine), f"CREATE ROLE bypasses_{id(engine)} LOGIN BYPASSRLS")
    others = {
        reason: open_engine(
            make_url(superuser_url(engine)).set(username=name).render_as_string(hide_password=False)
        )
        for name, reason in (
            (f"member_{id(engine)}", f"is a member of their owner '{OWNER}'"),
            (f"bypasses_{id(engine)}", "has BYPASSRLS"),
        )
    }
    for one, reason in (
        (owner_engine, "owns the tables"),
        (superuser, "is a superuser"),
        *((e, r) for r, e in others.items()),
    ):
        with pytest.raises(RoleNotIsolated, match=f"CATALOG_DATABASE_URL: the role .* {reason}"):
            await check_role(one, production=True)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            await check_role(one, production=False)
        assert reason in caplog.text
    for one in (superuser, *others.values()):
        await one.dispose()


async def test_migrate_names_a_service_role_that_does_not_exist(owner_engine: AsyncEngine) -> None:
    with pytest.raises(ServiceRoleUnusable, match=r"CATALOG_SERVICE_ROLE: the role 'nobody'.* does not exist"):
        await migrate(owner_engine, service_role="nobody")


async def test_migrate_grants_to_the_configured_role_without_the_url_of_the_service(
    owner_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration job has the password of the owner, and need not have that of the service."""
    monkeypatch.setenv("CATALOG_MIGRATE_DATABASE_URL", owner_database_url)
    monkeypatch.setenv("CATALOG_SERVICE_ROLE", "nobody")
    with pytest.raises(ServiceRoleUnusable, match="the role 'nobody'"):
        await bootstrap.migrate(load_settings(CatalogSettings))


@pytest.fixture
async def old_installation(empty_database_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield connections of the only role of an installation, no superuser, on the schema before 0011."""
    name = make_url(empty_database_url).database
    await execute(empty_database_url, f"ALTER DATABASE {name} OWNER TO {OWNER}")
    url = make_url(empty_database_url).set(username=OWNER)
    engine = open_engine(url.render_as_string(hide_password=False))

    def upgrade(connection: Connection) -> None:
        config = schema._alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")

    async with engine.connect() as connection:
        await connection.run_sync(upgrade)
        await connection.commit()
    yield engine
    await engine.dispose()


async def test_an_installation_with_one_role_keeps_working_after_the_migration(
    old_installation: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert await migrate(old_installation) == "0021"
    assert "CATALOG_SERVICE_ROLE is not set" in caplog.text
    sync = await CatalogWorld(old_installation).sync(MemorySource([product("1"), product("2")]))
    assert sync.state is SyncState.SUCCEEDED


async def test_a_replica_of_the_release_before_works_during_and_after_the_migration(
    old_installation: AsyncEngine,
) -> None:
    """It connects as the owner, names no shop, and has transactions open while the tables change."""

    async def counts(connection: AsyncConnection, statement: str, **values: Any) -> int:
        return (await connection.execute(text(statement), values)).rowcount

    insert = "INSERT INTO shop (shop_id, platform, domain) VALUES (gen_random_uuid(), 'shopify', :domain)"
    async with old_installation.begin() as connection:
        assert await counts(connection, insert, domain="before.example") == 1
    await migrate(old_installation, service_role=SERVICE_ROLE)
    async with old_installation.begin() as connection:
        assert await counts(connection, insert, domain="after.example") == 1
        assert await counts(connection, "UPDATE shop SET merchant_id = 'm'") == 2
        assert await counts(connection, "SELECT FROM shop") == 2
        assert await counts(connection, "DELETE FROM shop") == 2
