"""Behind PgBouncer in transaction mode nothing of a client stays on a server connection.

These tests need PgBouncer, and are about it; `make test-pgbouncer` runs all others through it as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import asyncpg
import pytest
from catalogsync_common.settings import SettingsError
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import SyncMode, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.pooler import MigrationThroughPooler, PoolerFound, check_pooler
from catalog_svc.storage.schema import migrate
from tests.conftest import execute, open_test_engine, with_database
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.catalog_svc.test_catalog_process import catalog, ended, logged
from tests.pgbouncer import SERVER_CONNECTIONS

_TEMPORARY_TABLES = "SELECT count(*) AS n FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'"
_STATEMENTS = "SELECT count(*) AS n FROM pg_prepared_statements WHERE name <> ''"


@pytest.fixture
def pooled_url(pgbouncer_url: str, direct_database_url: str) -> str:
    """Return the URL of a new database through PgBouncer."""
    return service_url(with_database(pgbouncer_url, make_url(direct_database_url).database or ""))


@pytest.fixture
async def pooled(pooled_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_test_engine(pooled_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def direct(direct_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(direct_database_url)
    yield engine
    await engine.dispose()


async def on_all_server_connections(engine: AsyncEngine, query: str) -> list[Any]:
    """Return the first value of the query on each of the server connections of PgBouncer."""
    # Each open transaction holds one server connection.
    everyone = asyncio.Barrier(SERVER_CONNECTIONS)

    async def ask() -> tuple[Any, Any]:
        async with engine.connect() as connection:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            found = (await connection.execute(text(query))).scalar_one()
            await everyone.wait()
            return pid, found

    answers = dict(await asyncio.gather(*(ask() for _ in range(SERVER_CONNECTIONS))))
    assert len(answers) == SERVER_CONNECTIONS
    return list(answers.values())


async def test_a_sync_leaves_no_temporary_table(pooled: AsyncEngine, direct: AsyncEngine) -> None:
    sync = await CatalogWorld(pooled).sync(MemorySource([product("1"), product("2")]))
    assert sync.state is SyncState.SUCCEEDED
    control = CatalogWorld(direct)
    assert (await control.rows(_TEMPORARY_TABLES))[0]["n"] == 0

    # The query does find those that a sync of a direct connection keeps.
    await control.sync(MemorySource([product("3")]))
    assert (await control.rows(_TEMPORARY_TABLES))[0]["n"] > 0


async def test_a_failed_copy_leaves_no_named_statement(pooled: AsyncEngine) -> None:
    """The driver prepares a statement of its own for COPY; the next client must not find it."""
    await CatalogWorld(pooled).execute("CREATE TABLE copied (number integer PRIMARY KEY)")
    await CatalogWorld(pooled).execute("GRANT INSERT ON copied TO PUBLIC")

    async def copy_twice(connection: AsyncConnection) -> None:
        driver = cast("asyncpg.Connection", (await connection.get_raw_connection()).driver_connection)
        await driver.copy_records_to_table("copied", records=[(1,), (1,)], columns=["number"])

    with pytest.raises(asyncpg.UniqueViolationError):
        await Database(pooled).write(copy_twice)
    assert await on_all_server_connections(pooled, _STATEMENTS) == [0] * SERVER_CONNECTIONS


async def test_two_clients_share_the_server_connections_without_errors(pooled_url: str) -> None:
    """More transactions at a time than server connections: each statement may meet another one than the last."""
    engines = [open_test_engine(pooled_url, pool_size=10) for _ in range(2)]
    shops = [ShopKey("shopify", f"shop{number}.myshopify.com") for number in range(2)]
    used: set[int] = set()

    async def read(engine: AsyncEngine) -> None:
        async def work(connection: AsyncConnection) -> int:
            pid: int = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            await connection.execute(text("SELECT count(*) FROM item WHERE item_id = :id"), {"id": "1"})
            return pid

        for _ in range(50):
            used.add(await Database(engine, attempts=1).read(work))

    async def sync(engine: AsyncEngine, shop: ShopKey) -> SyncState:
        world = CatalogWorld(engine)
        created = await world.create_sync(shop, SyncMode.FULL)
        source = MemorySource([product(str(number), items=3) for number in range(40)])
        await world.supervisor(source).run(await world.claim())
        return (await world.syncs.get(created.sync_id)).state

    async with asyncio.TaskGroup() as tasks:
        syncs = [tasks.create_task(sync(*one)) for one in zip(engines, shops, strict=True)]
        for engine in engines:
            for _ in range(10):
                tasks.create_task(read(engine))
    assert {task.result() for task in syncs} == {SyncState.SUCCEEDED}
    assert 1 < len(used) <= SERVER_CONNECTIONS
    for engine in engines:
        assert await on_all_server_connections(engine, _STATEMENTS) == [0] * SERVER_CONNECTIONS
        await engine.dispose()


async def test_migrate_refuses_a_pooler_and_takes_a_direct_url(pooled_url: str, owner_database_url: str) -> None:
    through_pooler = {"DATABASE_URL": pooled_url, "DATABASE_POOLED": "1"}
    for settings in (through_pooler, through_pooler | {"MIGRATE_DATABASE_URL": pooled_url}):
        async with catalog("migrate", **settings) as process:
            code, err = await ended(process)
        assert (code, "CATALOG_MIGRATE_DATABASE_URL" in err) == (2, True), err

    settings = through_pooler | {"MIGRATE_DATABASE_URL": owner_database_url}
    async with catalog("migrate", **settings) as process:
        code, err = await ended(process)
    assert code == 0, err


async def test_a_pooler_is_found_that_ignores_the_parameters_it_does_not_support(pooled: AsyncEngine) -> None:
    with pytest.raises(PoolerFound, match="CATALOG_DATABASE_POOLED=1"):
        await check_pooler(pooled, pooled=False)
    with pytest.raises(MigrationThroughPooler, match="CATALOG_MIGRATE_DATABASE_URL"):
        await migrate(pooled)


async def test_the_service_names_the_setting_that_a_pooler_needs(pooled_url: str) -> None:
    async with catalog(DATABASE_URL=pooled_url, DATABASE_POOLED="0", LISTEN_ADDRESS="127.0.0.1:0") as process:
        code, err = await ended(process)
    assert (code, "set CATALOG_DATABASE_POOLED=1" in err) == (2, True), err
    async with catalog(DATABASE_URL=pooled_url, DATABASE_POOLED="1", LISTEN_ADDRESS="127.0.0.1:0") as process:
        await logged(process, "database ready")


async def test_timeouts_that_the_role_lacks_are_named_at_startup(
    direct_database_url: str, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await execute(postgres_url, "CREATE ROLE without_timeouts LOGIN")
    await execute(postgres_url, "ALTER ROLE without_timeouts SET lock_timeout = '10s'")
    url = make_url(direct_database_url).set(username="without_timeouts")
    engine = open_engine(url.render_as_string(hide_password=False), pooled=True)
    with caplog.at_level(logging.WARNING):
        await check_pooler(engine, pooled=True)
    await engine.dispose()
    assert "ALTER ROLE ... SET idle_in_transaction_session_timeout = '10s'" in caplog.text
    assert "ALTER ROLE ... SET statement_timeout = '30s'" in caplog.text
    assert "lock_timeout" not in caplog.text


def test_options_of_a_url_that_a_pooler_does_not_support_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"CATALOG_DATABASE_URL.*ALTER ROLE"):
        open_engine("postgresql://db/catalog?options=-c%20work_mem%3D64MB", pooled=True)
