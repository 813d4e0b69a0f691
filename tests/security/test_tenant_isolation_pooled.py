"""Behind a PgBouncer in transaction mode, with ONE server connection, two tenants see their own rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import SERVICE_ROLE, service_url
from catalog_svc.storage.tenant import enter_shops
from tests.conftest import open_test_engine, superuser_url, with_database
from tests.pgbouncer import find_pgbouncer, run_pgbouncer
from tests.security.stored_shops import TwoShops
from tests.waiting import within_timeout

ROUNDS = 60


@pytest.fixture
async def pooled(engine: AsyncEngine) -> AsyncIterator[tuple[AsyncEngine, AsyncEngine]]:
    """Yield two clients of a PgBouncer that has one server connection for both."""
    program = find_pgbouncer()
    if program is None:
        pytest.skip("PgBouncer is not installed (apt-get install pgbouncer)")
    server = superuser_url(engine)
    async with run_pgbouncer(program, server, [SERVICE_ROLE], server_connections=1) as url:
        name = make_url(server).database or ""
        pooled_url = service_url(with_database(url.render_as_string(hide_password=False), name))
        clients = open_test_engine(pooled_url), open_test_engine(pooled_url)
        yield clients
        for client in clients:
            await client.dispose()


async def visible(connection: AsyncConnection) -> tuple[int, set[UUID]]:
    """Return the server connection, and the shops of the rows that the transaction sees."""
    pid: int = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    rows = await connection.execute(text("SELECT shop_id FROM shop UNION ALL SELECT shop_id FROM sync"))
    return pid, set(rows.scalars())


@pytest.mark.needs_session("it starts a PgBouncer of its own")
async def test_two_tenants_share_one_server_connection_and_see_their_own_rows(
    two_shops: TwoShops, pooled: tuple[AsyncEngine, AsyncEngine]
) -> None:
    shops = [two_shops.a.shop.shop_id, two_shops.b.shop.shop_id]
    pids: set[int] = set()
    finished = cancelled = 0

    async def tenant(number: int) -> None:
        nonlocal finished, cancelled
        chance = Random(number)
        database = Database(pooled[number % 2], attempts=1)
        shop = shops[number % 2]
        entered = asyncio.Event()

        async def look(connection: AsyncConnection) -> None:
            pid, seen = await visible(connection)
            pids.add(pid)
            assert seen == {shop}

        async def fail(connection: AsyncConnection) -> None:
            await look(connection)
            await connection.execute(text("SELECT 1 / 0"))

        async def enter(connection: AsyncConnection) -> None:
            assert (await visible(connection))[1] == set()
            await enter_shops(connection, [shop])
            await look(connection)

        async def wait(connection: AsyncConnection) -> None:
            await look(connection)
            entered.set()
            await connection.execute(text("SELECT pg_sleep(600)"))

        async def cancel_within_transaction() -> None:
            entered.clear()
            reading = asyncio.ensure_future(database.read(wait, shops=[shop]))
            await within_timeout(entered.wait())
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

        for _ in range(ROUNDS):
            kind = chance.randrange(5)
            if kind == 0:
                with pytest.raises(DBAPIError):
                    await database.write(fail, shops=[shop])
            elif kind == 1:
                await database.read(enter)
            elif kind == 2:
                await cancel_within_transaction()
                cancelled += 1
            else:
                await (database.read if kind == 3 else database.write)(look, shops=[shop])
            finished += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(tenant(number))
    assert finished == 4 * ROUNDS
    # Nothing of a tenant stays on the server connection.
    async with pooled[0].connect() as connection:
        setting = await connection.execute(text("SELECT current_setting('catalog.shop_ids', true)"))
        assert setting.scalar_one() in ("", None)
        pid, seen = await visible(connection)
        assert seen == set()
        pids.add(pid)
    # Only a cancelled transaction ends its server connection.
    assert len(pids) <= 1 + cancelled
    assert cancelled < finished / 2
